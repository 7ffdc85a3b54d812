from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import pytest
from tests.support.local_jobs import INVOCATION, Bench, job, key, wait
from tests.support.processes import gone, parent

from nel_action.errors import SecretError
from nel_action.executors.interface import find_attempts
from nel_action.executors.local.store import Store
from nel_action.model.job import JobState, Reason


def append(path: Path, then: str = "") -> str:
    """Return a script that adds a line to a file in one write."""
    return f"import os\nwith open({str(path)!r}, 'a') as f: f.write(f'{{os.getpid()}}\\n')\n{then}"


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def started(bench: Bench, name: str) -> int:
    """Wait until a job's process runs; return its id."""
    attempt = Store(bench.root / "home").at(key(name), 1)
    deadline = time.monotonic() + 30
    while (seen := attempt.started()) is None or seen.pid is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return seen.pid


def test_a_job_runs_and_what_it_left_is_collected(bench: Bench) -> None:
    script = "import os; print('hello'); open(os.environ['NEL_OUTPUT_DIR'] + '/scores.json', 'w').write('{}')"
    executor = bench.executor()
    attempt = executor.submit(job("one", script), 1, INVOCATION)
    status = wait(executor, [attempt])[key("one")]
    assert (status.state, status.exit_code, status.reason) == (JobState.SUCCEEDED, 0, None)
    assert status.started is not None
    assert status.ended is not None
    assert status.started <= status.ended
    executor.collect(attempt, bench.root / "out")
    assert (bench.root / "out/artifacts/scores.json").read_text() == "{}"
    assert (bench.root / "out/logs/client.log").read_text() == "hello\n"
    assert list(executor.logs(attempt, follow=False)) == ["hello"]


def test_another_process_finds_the_job_by_its_key(bench: Bench) -> None:
    bench.run(job("one", "pass"))
    found = bench.executor().find([key("one"), key("two")])
    assert [(each.key, each.number) for each in found.values()] == [(key("one"), 1)]


def test_the_newest_attempt_is_found(bench: Bench) -> None:
    executor = bench.executor()
    attempts = [executor.submit(job("one", "pass"), number, INVOCATION) for number in (1, 10, 2)]
    wait(executor, attempts[1:2])
    assert executor.find([key("one")])[key("one")].number == 10


def test_submitting_the_same_attempt_again_returns_the_one_that_is_there(bench: Bench) -> None:
    log = bench.root / "ran"
    executor = bench.executor()
    first = executor.submit(job("one", append(log)), 1, INVOCATION)
    wait(executor, [first])
    again = bench.executor().submit(job("one", append(log)), 1, "fedcba9876543210")
    assert again == first
    assert len(lines(log)) == 1


@pytest.mark.parametrize(
    ("script", "reason", "code", "words"),
    [
        ("import sys; print('no such metric'); sys.exit(3)", Reason.HARNESS, 3, "exit status 3: no such metric"),
        ("import os; os.abort()", Reason.HARNESS, 134, "134"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", Reason.INFRASTRUCTURE, 137, "signal 9"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", Reason.INFRASTRUCTURE, 143, "signal 15"),
    ],
)
def test_how_a_job_ended_is_told(bench: Bench, script: str, reason: Reason, code: int, words: str) -> None:
    status = bench.run(job("one", script))[key("one")]
    assert (status.state, status.reason, status.exit_code) == (JobState.FAILED, reason, code)
    assert words in (status.detail or "")


def test_a_program_that_is_not_there_is_named(bench: Bench) -> None:
    status = bench.run(job("one", "", command=("no-such-program", "--now")))[key("one")]
    assert (status.state, status.exit_code) == (JobState.FAILED, 127)
    assert "cannot run no-such-program: No such file or directory" in (status.detail or "")


def test_a_job_that_takes_too_long_is_ended(bench: Bench) -> None:
    status = bench.run(job("one", "import time; time.sleep(600)", timeout=0.5))[key("one")]
    assert (status.state, status.reason) == (JobState.FAILED, Reason.TIME_LIMIT)
    assert gone(started(bench, "one"))


def test_no_more_jobs_run_at_once_than_asked_for(bench: Bench) -> None:
    log = bench.root / "ran"
    script = append(log, f"import time; time.sleep(.15); open({str(log)!r}, 'a').write('end\\n')")
    bench.run(*[job(f"j{n}", script, index=n) for n in range(4)])
    assert [line == "end" for line in lines(log)] == [False, True] * 4


def test_jobs_run_at_once_where_asked_for(bench: Bench) -> None:
    log = bench.root / "ran"
    meet = f"import time\nwhile len(open({str(log)!r}).readlines()) < 3: time.sleep(.02)"
    seen = bench.run(*[job(f"j{n}", append(log, meet), index=n, timeout=20.0) for n in range(3)], parallelism=3)
    assert {status.state for status in seen.values()} == {JobState.SUCCEEDED}


def test_cancel_ends_running_and_waiting_jobs(bench: Bench) -> None:
    executor = bench.executor()
    attempts = [executor.submit(job(f"j{n}", "import time; time.sleep(600)", index=n), 1, INVOCATION) for n in range(2)]
    pid = started(bench, "j0")
    executor.cancel(attempts)
    assert {status.state for status in executor.poll(attempts).values()} == {JobState.CANCELLED}
    assert gone(pid)
    assert Store(bench.root / "home").at(key("j1"), 1).started() is None


def test_a_job_that_ignores_signals_is_killed(bench: Bench) -> None:
    ready = bench.root / "ready"
    stubborn = (
        "import pathlib, signal, time\n"
        "for n in (signal.SIGINT, signal.SIGTERM): signal.signal(n, signal.SIG_IGN)\n"
        f"pathlib.Path({str(ready)!r}).touch()\n"
        "while True: time.sleep(1)"
    )
    executor = bench.executor()
    attempt = executor.submit(job("one", stubborn), 1, INVOCATION)
    while not ready.exists():
        time.sleep(0.02)
    executor.cancel([attempt])
    assert executor.poll([attempt])[key("one")].state is JobState.CANCELLED
    assert gone(started(bench, "one"))


def test_what_a_job_starts_does_not_outlive_it(bench: Bench) -> None:
    pids = bench.root / "pids"
    script = (
        "import subprocess, sys\n"
        "sleep = [sys.executable, '-c', 'import time; time.sleep(600)']\n"
        "found = [subprocess.Popen(sleep, start_new_session=new).pid for new in (False, True)]\n"
        f"open({str(pids)!r}, 'w').write(' '.join(map(str, found)))"
    )
    assert bench.run(job("one", script))[key("one")].state is JobState.SUCCEEDED
    assert all(gone(int(pid)) for pid in pids.read_text().split())


def test_when_the_agent_is_killed_the_job_dies_with_it_and_is_told_so(bench: Bench) -> None:
    pids = bench.root / "pid"
    script = (
        "import subprocess, sys, time\n"
        "other = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(pids)!r}, 'w').write(str(other.pid))\n"
        "time.sleep(600)"
    )
    executor = bench.executor()
    attempt = executor.submit(job("one", script), 1, INVOCATION)
    pid = started(bench, "one")
    while not (pids.exists() and pids.read_text()):
        time.sleep(0.02)
    os.kill(parent(pid), signal.SIGKILL)
    assert gone(pid)
    status = wait(executor, [attempt])[key("one")]
    assert (status.state, status.reason) == (JobState.FAILED, Reason.INFRASTRUCTURE)
    assert "supervisor was killed" in (status.detail or "")
    assert gone(int(pids.read_text()))


def test_waiting_jobs_go_on_under_another_agent(bench: Bench) -> None:
    log = bench.root / "ran"
    executor = bench.executor()
    first = executor.submit(job("j0", "import time; time.sleep(600)"), 1, INVOCATION)
    rest = [executor.submit(job(f"j{n}", append(log), index=n), 1, INVOCATION) for n in (1, 2)]
    os.kill(parent(started(bench, "j0")), signal.SIGKILL)
    seen = wait(bench.executor(), [first, *rest])
    assert [seen[key(f"j{n}")].state for n in range(3)] == [JobState.FAILED, JobState.SUCCEEDED, JobState.SUCCEEDED]
    assert len(lines(log)) == 2


def test_an_agent_that_is_told_to_end_ends_its_jobs(bench: Bench) -> None:
    executor = bench.executor()
    attempt = executor.submit(job("one", "import time; time.sleep(600)"), 1, INVOCATION)
    pid = started(bench, "one")
    os.kill(parent(pid), signal.SIGTERM)
    status = wait(executor, [attempt])[key("one")]
    assert (status.state, status.reason) == (JobState.FAILED, Reason.INFRASTRUCTURE)
    assert gone(pid)


@pytest.mark.parametrize(("keep", "left"), [(30, False), (None, True)])
def test_what_ended_long_ago_leaves_the_store_when_the_next_starts(bench: Bench, keep: int | None, left: bool) -> None:  # noqa: FBT001 - a table
    bench.run(job("old", "pass"))
    bench.run(job("new", "pass"))
    store = Store(bench.root / "home")
    os.utime(store.at(key("old"), 1).path, (time.time() - 31 * 86_400,) * 2)
    executor = bench.executor(keep_days=keep)
    wait(executor, [executor.submit(job("next", "pass"), 1, "b" * 16)])
    assert {attempt.key for attempt in store.all()} == {key("new"), key("next")} | ({key("old")} if left else set())
    assert not list(store.root.glob(".*"))


def test_what_was_just_looked_for_stays_until_it_is_collected(bench: Bench) -> None:
    bench.run(job("old", "pass"))
    os.utime(Store(bench.root / "home").at(key("old"), 1).path, (time.time() - 31 * 86_400,) * 2)
    executor = bench.executor(keep_days=30)
    taken_over = find_attempts(executor, [key("old"), key("next")])[key("old")]
    wait(executor, [executor.submit(job("next", "pass"), 1, "b" * 16)])
    executor.collect(taken_over, bench.root / "out")
    assert (bench.root / "out/logs/client.log").is_file()


def _submit(root: Path, invocation: str) -> None:
    bench = Bench(root, dict(os.environ))
    bench.executor().submit(job("one", append(root / "ran")), 1, invocation)


@pytest.mark.parametrize("invocations", [1, 8])
def test_callers_at_once_run_the_same_job_once(bench: Bench, invocations: int) -> None:
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        for future in [pool.submit(_submit, bench.root, f"{n % invocations:016x}") for n in range(8)]:
            future.result()
    executor = bench.executor()
    wait(executor, executor.find([key("one")]).values())
    assert len(lines(bench.root / "ran")) == 1


def test_the_agent_outlives_signals_to_the_callers_group(bench: Bench) -> None:
    script = (
        "import os, sys; from pathlib import Path; from tests.executors.local.test_executor import *\n"
        "bench = Bench(Path(sys.argv[1]), dict(os.environ))\n"
        "bench.executor().submit(job('one', append(bench.root / 'ran', 'import time; time.sleep(1)')), 1, INVOCATION)\n"
        "os.killpg(0, 9)"
    )
    environ = {**bench.environ, "PYTHONPATH": str(Path.cwd())}
    argv = [sys.executable, "-c", script, str(bench.root)]
    process = subprocess.run(argv, env=environ, start_new_session=True, check=False)
    assert process.returncode == -signal.SIGKILL
    executor = bench.executor()
    seen = wait(executor, executor.find([key("one")]).values())
    assert seen[key("one")].state is JobState.SUCCEEDED
    assert len(lines(bench.root / "ran")) == 1


def test_a_secret_reaches_the_job_and_nothing_else(bench: Bench) -> None:
    secret = "s3cr3t \"$(touch pwned)\" 'x'"
    bench.environ = {**bench.environ, "MY_KEY": secret, "OTHER": "not-for-the-job"}
    script = (
        "import json, os\n"
        "print('key', os.environ['KEY'], json.dumps(os.environ['KEY']))\n"
        "open(os.environ['NEL_OUTPUT_DIR'] + '/seen', 'w').write(json.dumps(dict(os.environ)))"
    )
    executor = bench.executor()
    attempt = executor.submit(job("one", script, env={"KEY": "host:MY_KEY", "MODE": "lit:fast"}), 1, INVOCATION)
    where = Store(bench.root / "home").at(key("one"), 1)
    if where.secrets.exists():
        assert where.secrets.stat().st_mode & 0o777 == 0o600
    wait(executor, [attempt])
    seen = json.loads((where.artifacts / "seen").read_text())
    assert (seen["KEY"], seen["MODE"], seen.get("OTHER")) == (secret, "fast", None)
    assert not where.secrets.exists()
    assert list(executor.logs(attempt, follow=False)) == ['key *** "***"']
    left = [path for path in (bench.root / "home").rglob("*") if path.is_file() and path.name != "seen"]
    assert not [path for path in left if "s3cr3t" in path.read_text()]


def test_a_variable_that_is_not_set_is_named_before_anything_is_written(bench: Bench) -> None:
    with pytest.raises(SecretError, match="variable NOT_THERE not set"):
        bench.executor().submit(job("one", "pass", env={"KEY": "host:NOT_THERE"}), 1, INVOCATION)
    assert bench.executor().find([key("one")]) == {}


def test_a_runtime_variable_comes_from_where_the_job_runs(bench: Bench) -> None:
    bench.environ = {**bench.environ, "THERE": "value-of-there"}
    script = "import os; print(os.environ['KEY'] == 'value-of-there', os.environ['KEY'])"
    executor = bench.executor()
    attempt = executor.submit(job("one", script, env={"KEY": "runtime:THERE"}), 1, INVOCATION)
    wait(executor, [attempt])
    assert list(executor.logs(attempt, follow=False)) == ["True ***"]


def test_a_log_is_followed_to_its_end(bench: Bench) -> None:
    go = bench.root / "go"
    pause = f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(.02)"
    script = f"print('first', flush=True)\n{pause}\nprint('last')"
    executor = bench.executor()
    follower = executor.logs(executor.submit(job("one", script), 1, INVOCATION), follow=True)
    assert next(follower) == "first"
    go.touch()
    assert list(follower) == ["last"]


def test_progress_is_shown_while_the_job_runs(bench: Bench) -> None:
    go = bench.root / "go"
    script = (
        "import os, time\n"
        "open(os.environ['NEL_OUTPUT_DIR'] + '/progress.json', 'w').write('{\"done\": 3, \"total\": 7}')\n"
        f"while not os.path.exists({str(go)!r}): time.sleep(.02)"
    )
    executor = bench.executor()
    attempt = executor.submit(job("one", script), 1, INVOCATION)
    deadline = time.monotonic() + 30
    while (status := executor.poll([attempt])[key("one")]).progress is None:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert (status.state, status.progress.done, status.progress.total) == (JobState.RUNNING, 3, 7)
    go.touch()
    wait(executor, [attempt])


def test_later_changes_to_the_task_folder_do_not_reach_a_submitted_job(bench: Bench) -> None:
    folder = bench.root / "tasks"
    folder.mkdir()
    (folder / "data").write_text("as submitted")
    first = job("j0", "import time; time.sleep(.5)")
    second = job("j1", "", index=1, command=("cat", "{task_dir}/data"), task_dir=Path("tasks"))
    executor = bench.executor()
    attempts = [executor.submit(each, 1, INVOCATION) for each in (first, second)]
    (folder / "data").write_text("changed")
    wait(executor, attempts)
    assert list(executor.logs(attempts[1], follow=False)) == ["as submitted"]


def test_hooks_run_around_the_harness_and_keep_its_status(bench: Bench) -> None:
    hooked = job(
        "one", "import os, sys; print(os.environ['A']); sys.exit(7)", pre_cmd="export A=before", post_cmd="echo after"
    )
    executor = bench.executor()
    attempt = executor.submit(hooked, 1, INVOCATION)
    assert wait(executor, [attempt])[key("one")].exit_code == 7
    assert list(executor.logs(attempt, follow=False)) == ["before", "after"]


def test_a_damaged_record_is_unknown_to_poll_and_ended_by_the_agent(bench: Bench) -> None:
    executor = bench.executor()
    attempts = [executor.submit(job(f"j{n}", "import time; time.sleep(1)", index=n), 1, INVOCATION) for n in range(2)]
    started(bench, "j0")
    where = Store(bench.root / "home").at(key("j1"), 1)
    (where.path / "exit.json").write_text('{"state": "succ')
    status = bench.executor().poll(attempts[1:])[key("j1")]
    assert status.state is JobState.UNKNOWN
    assert "exit.json cannot be read" in (status.detail or "")


def test_a_trace_that_is_gone_is_unknown_not_failed(bench: Bench) -> None:
    attempt = bench.executor().submit(job("one", "pass"), 1, INVOCATION)
    other = Bench(bench.root / "elsewhere", bench.environ)
    assert other.executor().poll([attempt])[key("one")].state is JobState.UNKNOWN
    wait(bench.executor(), [attempt])


def test_a_process_that_the_kernel_ends_for_want_of_memory_is_told_from_others(bench: Bench) -> None:
    group = Path("/sys/fs/cgroup/memory") / f"nel-action-test-{os.getpid()}"
    try:
        group.mkdir()
        (group / "memory.limit_in_bytes").write_text("40M")
    except OSError:
        pytest.skip("this user may not limit memory here")
    try:
        script = (
            "import os\n"
            f"open({str(group / 'cgroup.procs')!r}, 'w').write(str(os.getpid()))\n"
            "held = bytearray(400_000_000)\nfor n in range(0, len(held), 4096): held[n] = 1"
        )
        status = bench.run(job("one", script))[key("one")]
        assert (status.state, status.reason, status.exit_code) == (JobState.FAILED, Reason.OUT_OF_MEMORY, 137)
    finally:
        group.rmdir()
