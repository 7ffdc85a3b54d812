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
from tests.support.local_jobs import INVOCATION, Bench, job, key, started_pid, wait
from tests.support.processes import gone, parent

from nel_action.errors import SecretError
from nel_action.executors.interface import find_attempts
from nel_action.executors.local.store import Store
from nel_action.model.job import JobState, Reason

pytestmark = pytest.mark.slow


def append(path: Path, then: str = "") -> str:
    """Return a script that appends its process ID to a file in one write and then runs other statements."""
    return f"import os\nwith open({str(path)!r}, 'a') as f: f.write(f'{{os.getpid()}}\\n')\n{then}"


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def test_a_job_runs_and_its_results_are_collected(bench: Bench) -> None:
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


def test_find_returns_jobs_of_other_processes_by_key(bench: Bench) -> None:
    bench.run(job("one", "pass"))
    attempts = bench.executor().find([key("one"), key("two")])
    assert [(attempt.key, attempt.number) for attempt in attempts.values()] == [(key("one"), 1)]


def test_find_returns_the_latest_attempt(bench: Bench) -> None:
    executor = bench.executor()
    attempts = [executor.submit(job("one", "pass"), number, INVOCATION) for number in (1, 10, 2)]
    wait(executor, attempts[1:2])
    assert executor.find([key("one")])[key("one")].number == 10


def test_submit_is_idempotent(bench: Bench) -> None:
    log = bench.root / "ran"
    executor = bench.executor()
    first = executor.submit(job("one", append(log)), 1, INVOCATION)
    wait(executor, [first])
    again = bench.executor().submit(job("one", append(log)), 1, "fedcba9876543210")
    assert again == first
    assert len(lines(log)) == 1


@pytest.mark.parametrize(
    ("script", "reason", "code", "detail"),
    [
        ("import sys; print('no such metric'); sys.exit(3)", Reason.HARNESS, 3, "exit status 3: no such metric"),
        ("import os; os.abort()", Reason.HARNESS, 134, "134"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", Reason.INFRASTRUCTURE, 137, "signal 9"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)", Reason.INFRASTRUCTURE, 143, "signal 15"),
    ],
)
def test_a_failed_job_has_reason_exit_code_and_detail(
    bench: Bench, script: str, reason: Reason, code: int, detail: str
) -> None:
    status = bench.run(job("one", script))[key("one")]
    assert (status.state, status.reason, status.exit_code) == (JobState.FAILED, reason, code)
    assert detail in (status.detail or "")


def test_a_missing_program_is_named(bench: Bench) -> None:
    status = bench.run(job("one", "", command=("no-such-program", "--now")))[key("one")]
    assert (status.state, status.exit_code) == (JobState.FAILED, 127)
    assert "cannot run no-such-program: No such file or directory" in (status.detail or "")


def test_a_job_is_killed_at_its_time_limit(bench: Bench) -> None:
    status = bench.run(job("one", "import time; time.sleep(600)", timeout=0.5))[key("one")]
    assert (status.state, status.reason) == (JobState.FAILED, Reason.TIME_LIMIT)
    assert gone(started_pid(bench, "one"))


def test_jobs_run_one_by_one_by_default(bench: Bench) -> None:
    log = bench.root / "ran"
    script = append(log, f"import time; time.sleep(.15); open({str(log)!r}, 'a').write('end\\n')")
    bench.run(*[job(f"j{n}", script, index=n) for n in range(4)])
    assert [line == "end" for line in lines(log)] == [False, True] * 4


def test_parallelism_runs_jobs_concurrently(bench: Bench) -> None:
    log = bench.root / "ran"
    meet = f"import time\nwhile len(open({str(log)!r}).readlines()) < 3: time.sleep(.02)"
    statuses = bench.run(*[job(f"j{n}", append(log, meet), index=n, timeout=20.0) for n in range(3)], parallelism=3)
    assert {status.state for status in statuses.values()} == {JobState.SUCCEEDED}


def test_cancel_stops_running_and_pending_jobs(bench: Bench) -> None:
    executor = bench.executor()
    attempts = [executor.submit(job(f"j{n}", "import time; time.sleep(600)", index=n), 1, INVOCATION) for n in range(2)]
    pid = started_pid(bench, "j0")
    executor.cancel(attempts)
    assert {status.state for status in executor.poll(attempts).values()} == {JobState.CANCELLED}
    assert gone(pid)
    assert Store(bench.root / "home").at(key("j1"), 1).start_record() is None


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
    assert gone(started_pid(bench, "one"))


def test_child_processes_of_a_job_are_killed_with_it(bench: Bench) -> None:
    pids = bench.root / "pids"
    script = (
        "import subprocess, sys\n"
        "sleep = [sys.executable, '-c', 'import time; time.sleep(600)']\n"
        "pids = [subprocess.Popen(sleep, start_new_session=new).pid for new in (False, True)]\n"
        f"open({str(pids)!r}, 'w').write(' '.join(map(str, pids)))"
    )
    assert bench.run(job("one", script))[key("one")].state is JobState.SUCCEEDED
    assert all(gone(int(pid)) for pid in pids.read_text().split())


def test_a_job_dies_with_its_killed_supervisor_and_is_reported_as_failed(bench: Bench) -> None:
    pids = bench.root / "pid"
    script = (
        "import subprocess, sys, time\n"
        "other = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)'])\n"
        f"open({str(pids)!r}, 'w').write(str(other.pid))\n"
        "time.sleep(600)"
    )
    executor = bench.executor()
    attempt = executor.submit(job("one", script), 1, INVOCATION)
    pid = started_pid(bench, "one")
    while not (pids.exists() and pids.read_text()):
        time.sleep(0.02)
    os.kill(parent(pid), signal.SIGKILL)
    assert gone(pid)
    status = wait(executor, [attempt])[key("one")]
    assert (status.state, status.reason) == (JobState.FAILED, Reason.INFRASTRUCTURE)
    assert "supervisor was killed" in (status.detail or "")
    assert gone(int(pids.read_text()))


def test_pending_jobs_run_under_another_supervisor(bench: Bench) -> None:
    log = bench.root / "ran"
    executor = bench.executor()
    first = executor.submit(job("j0", "import time; time.sleep(600)"), 1, INVOCATION)
    rest = [executor.submit(job(f"j{n}", append(log), index=n), 1, INVOCATION) for n in (1, 2)]
    os.kill(parent(started_pid(bench, "j0")), signal.SIGKILL)
    statuses = wait(bench.executor(), [first, *rest])
    assert [statuses[key(f"j{n}")].state for n in range(3)] == [JobState.FAILED, JobState.SUCCEEDED, JobState.SUCCEEDED]
    assert len(lines(log)) == 2


def test_a_terminated_supervisor_stops_its_jobs(bench: Bench) -> None:
    executor = bench.executor()
    attempt = executor.submit(job("one", "import time; time.sleep(600)"), 1, INVOCATION)
    pid = started_pid(bench, "one")
    os.kill(parent(pid), signal.SIGTERM)
    status = wait(executor, [attempt])[key("one")]
    assert (status.state, status.reason) == (JobState.FAILED, Reason.INFRASTRUCTURE)
    assert gone(pid)


@pytest.mark.parametrize(("keep_days", "kept"), [(30, set()), (None, {"old"})])
def test_expired_attempts_are_removed_when_the_next_invocation_starts(
    bench: Bench, keep_days: int | None, kept: set[str]
) -> None:
    bench.run(job("old", "pass"))
    bench.run(job("new", "pass"))
    store = Store(bench.root / "home")
    os.utime(store.at(key("old"), 1).path, (time.time() - 31 * 86_400,) * 2)
    executor = bench.executor(keep_days=keep_days)
    wait(executor, [executor.submit(job("next", "pass"), 1, "b" * 16)])
    assert {attempt.key for attempt in store.all()} == {key(name) for name in {"new", "next"} | kept}
    assert not list(store.root.glob(".*"))


def test_a_swept_key_keeps_its_expired_attempt_until_it_is_collected(bench: Bench) -> None:
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
def test_concurrent_submitters_run_a_job_once(bench: Bench, invocations: int) -> None:
    with ProcessPoolExecutor(4, mp_context=get_context("spawn")) as pool:
        for future in [pool.submit(_submit, bench.root, f"{n % invocations:016x}") for n in range(8)]:
            future.result()
    executor = bench.executor()
    wait(executor, executor.find([key("one")]).values())
    assert len(lines(bench.root / "ran")) == 1


def test_the_supervisor_survives_signals_to_the_callers_process_group(bench: Bench) -> None:
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
    statuses = wait(executor, executor.find([key("one")]).values())
    assert statuses[key("one")].state is JobState.SUCCEEDED
    assert len(lines(bench.root / "ran")) == 1


def test_a_secret_reaches_only_the_job(bench: Bench) -> None:
    secret = "s3cr3t \"$(touch pwned)\" 'x'"
    bench.environ = {**bench.environ, "MY_KEY": secret, "OTHER": "not-for-the-job"}
    script = (
        "import json, os\n"
        "print('key', os.environ['KEY'], json.dumps(os.environ['KEY']))\n"
        "open(os.environ['NEL_OUTPUT_DIR'] + '/environ', 'w').write(json.dumps(dict(os.environ)))"
    )
    executor = bench.executor()
    attempt = executor.submit(job("one", script, env={"KEY": "host:MY_KEY", "MODE": "lit:fast"}), 1, INVOCATION)
    directory = Store(bench.root / "home").at(key("one"), 1)
    if directory.secrets.exists():
        assert directory.secrets.stat().st_mode & 0o777 == 0o600
    wait(executor, [attempt])
    environ = json.loads((directory.artifacts / "environ").read_text())
    assert (environ["KEY"], environ["MODE"], environ.get("OTHER")) == (secret, "fast", None)
    assert not directory.secrets.exists()
    assert list(executor.logs(attempt, follow=False)) == ['key *** "***"']
    files = [path for path in (bench.root / "home").rglob("*") if path.is_file() and path.name != "environ"]
    assert not [path for path in files if "s3cr3t" in path.read_text()]


def test_submit_rejects_unset_variables_before_it_writes_anything(bench: Bench) -> None:
    with pytest.raises(SecretError, match="variable UNSET not set"):
        bench.executor().submit(job("one", "pass", env={"KEY": "host:UNSET"}), 1, INVOCATION)
    assert bench.executor().find([key("one")]) == {}


def test_a_runtime_variable_is_read_by_the_supervisor(bench: Bench) -> None:
    bench.environ = {**bench.environ, "LOCAL": "value-of-local"}
    script = "import os; print(os.environ['KEY'] == 'value-of-local', os.environ['KEY'])"
    executor = bench.executor()
    attempt = executor.submit(job("one", script, env={"KEY": "runtime:LOCAL"}), 1, INVOCATION)
    wait(executor, [attempt])
    assert list(executor.logs(attempt, follow=False)) == ["True ***"]


def test_logs_can_be_followed_until_the_job_has_finished(bench: Bench) -> None:
    go = bench.root / "go"
    pause = f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(.02)"
    script = f"print('first', flush=True)\n{pause}\nprint('last')"
    executor = bench.executor()
    follower = executor.logs(executor.submit(job("one", script), 1, INVOCATION), follow=True)
    assert next(follower) == "first"
    go.touch()
    assert list(follower) == ["last"]


def test_poll_reports_the_progress_of_a_running_job(bench: Bench) -> None:
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


def test_changes_to_the_task_directory_do_not_affect_submitted_jobs(bench: Bench) -> None:
    directory = bench.root / "tasks"
    directory.mkdir()
    (directory / "data").write_text("as submitted")
    go = bench.root / "go"
    first = job("j0", f"import os, time\nwhile not os.path.exists({str(go)!r}): time.sleep(.02)")
    second = job("j1", "", index=1, command=("cat", "{task_dir}/data"), task_dir=Path("tasks"))
    executor = bench.executor()
    attempts = [executor.submit(item, 1, INVOCATION) for item in (first, second)]
    (directory / "data").write_text("changed")
    go.touch()
    wait(executor, attempts)
    assert list(executor.logs(attempts[1], follow=False)) == ["as submitted"]


def test_a_task_directory_that_contains_the_home_is_copied_without_it(bench: Bench) -> None:
    (bench.root / "evaluate.py").write_text("", encoding="utf-8")
    (bench.root / "runs/1").mkdir(parents=True)
    (bench.root / "runs/1/invocation.json").touch()
    (bench.root / "home").mkdir()
    (bench.root / "home/ledger.db").touch()
    script = (
        f"import os; print(sorted(os.listdir({str(Store(bench.root / 'home').at(key('one'), 1).path / 'task')!r})))"
    )
    assert bench.run(job("one", script, task_dir=bench.root))[key("one")].state is JobState.SUCCEEDED
    attempt = Store(bench.root / "home").at(key("one"), 1)
    assert attempt.client_log.read_text() == "['evaluate.py', 'runs']\n"
    assert list((attempt.path / "task/runs").iterdir()) == []


def test_hooks_run_around_the_harness_and_preserve_its_exit_status(bench: Bench) -> None:
    hooked = job(
        "one", "import os, sys; print(os.environ['A']); sys.exit(7)", pre_cmd="export A=before", post_cmd="echo after"
    )
    executor = bench.executor()
    attempt = executor.submit(hooked, 1, INVOCATION)
    assert wait(executor, [attempt])[key("one")].exit_code == 7
    assert list(executor.logs(attempt, follow=False)) == ["before", "after"]


def test_poll_reports_a_damaged_exit_record_as_unknown(bench: Bench) -> None:
    executor = bench.executor()
    executor.submit(job("j0", "import time; time.sleep(600)"), 1, INVOCATION)
    attempt = executor.submit(job("j1", "pass", index=1), 1, INVOCATION)
    started_pid(bench, "j0")
    directory = Store(bench.root / "home").at(key("j1"), 1)
    (directory.path / "exit.json").write_text('{"state": "succ')
    status = bench.executor().poll([attempt])[key("j1")]
    assert status.state is JobState.UNKNOWN
    assert "cannot read" in (status.detail or "")
    assert "exit.json" in (status.detail or "")


def test_poll_reports_a_missing_attempt_as_unknown(bench: Bench) -> None:
    attempt = bench.executor().submit(job("one", "pass"), 1, INVOCATION)
    other = Bench(bench.root / "elsewhere", bench.environ)
    assert other.executor().poll([attempt])[key("one")].state is JobState.UNKNOWN
    wait(bench.executor(), [attempt])


def test_out_of_memory_is_distinguished_from_other_kills(bench: Bench) -> None:
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
            "data = bytearray(400_000_000)\nfor n in range(0, len(data), 4096): data[n] = 1"
        )
        status = bench.run(job("one", script))[key("one")]
        assert (status.state, status.reason, status.exit_code) == (JobState.FAILED, Reason.OUT_OF_MEMORY, 137)
    finally:
        group.rmdir()
