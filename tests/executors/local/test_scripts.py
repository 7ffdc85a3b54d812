from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from tests.support import model_server
from tests.support.local_jobs import INVOCATION, Bench, job, wait

from nel_action.planning.jobs import Context, Job, Plan
from nel_action.spec.deployment import GenericDeployment
from nel_action.spec.evaluation import Evaluation
from nel_action.spec.model import Spec

SCRIPT = (
    "import os\n"
    "out = os.environ['NEL_OUTPUT_DIR'] + '/scores.json'\n"
    "open(out, 'w').write(os.environ['KEY'] + os.environ['NOTE'] + open(os.environ['NEL_TASK_DIR'] + '/data').read())"
)
NOTE = """it's "quoted" $(touch pwned) `touch pwned` \\ ;&"""


@pytest.fixture
def hard(bench: Bench) -> Job:
    """A job whose every word would hurt where it is not quoted."""
    folder = bench.root / "my tasks"
    folder.mkdir()
    (folder / "data").write_text("data")
    bench.environ = {**bench.environ, "MY_KEY": "s3cr3t 'value'"}
    env = {"KEY": "host:MY_KEY", "NOTE": f"lit:{NOTE}"}
    return job("one", SCRIPT, env=env, task_dir=folder, pre_cmd="echo before", post_cmd="echo after")


def write(folder: Path, texts: Mapping[str, str]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)


def run(script: Path, environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([script], env=dict(environ), capture_output=True, text=True, check=False, timeout=120)


def test_a_job_by_hand_leaves_what_the_agent_leaves(bench: Bench, hard: Job) -> None:
    executor = bench.executor()
    attempt = executor.submit(hard, 1, INVOCATION)
    wait(executor, [attempt])
    executor.collect(attempt, bench.root / "out")
    texts = executor.scripts(hard, 1)
    assert not any("s3cr3t" in text for text in texts.values())
    write(bench.root / "by hand", texts)
    done = run(bench.root / "by hand/run.sh", bench.environ)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["before", "after"] == list(executor.logs(attempt, follow=False))
    by_hand = bench.root / "by hand/by-hand/artifacts/scores.json"
    assert by_hand.read_text() == (bench.root / "out/artifacts/scores.json").read_text()
    assert not list(bench.root.rglob("pwned"))


def test_a_variable_that_is_missing_is_asked_for_by_name(bench: Bench, hard: Job) -> None:
    write(bench.root / "by hand", bench.executor().scripts(hard, 1))
    done = run(bench.root / "by hand/run.sh", {"PATH": os.environ["PATH"]})
    assert done.returncode != 0
    assert "set MY_KEY first" in done.stderr


def test_all_jobs_by_hand_with_their_server(bench: Bench) -> None:
    words = (sys.executable, model_server.__file__, "{host}", "{port}", str(bench.root))
    free = model_server.free_port()
    deployment = GenericDeployment(command=words, served_model_name="tiny", port=free)
    ask = "import os, urllib.request\nprint(urllib.request.urlopen(os.environ['NEL_URL'], b'{}').read().decode())"
    jobs = tuple(replace(job(f"j{n}", ask, index=n), deployment=deployment) for n in range(2))
    spec = Spec(deployment=deployment, evaluation=Evaluation())
    executor = bench.executor()
    write(bench.root / "run", executor.plan_scripts(Plan(spec=spec, context=Context(), jobs=jobs)))
    for each in jobs:
        write(bench.root / "run" / each.name, executor.scripts(each, 1))
    done = run(bench.root / "run/run_all.sh", bench.environ)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('"path": "/v1/chat/completions"') == 2
    assert (bench.root / "starts").read_text().count("\n") == 1


@pytest.mark.parametrize("runtime", ["process", "docker"])
def test_scripts_are_clean(bench: Bench, hard: Job, runtime: str) -> None:
    shellcheck = shutil.which("shellcheck")
    if shellcheck is None:
        pytest.skip("no shellcheck here")
    executor = bench.executor(runtime=runtime)
    made = replace(hard, image="repository/image:tag" if runtime == "docker" else None)
    plan = Plan(spec=Spec(), context=Context(), jobs=(made,))
    write(bench.root / "by hand", {**executor.scripts(made, 1), **executor.plan_scripts(plan)})
    for script in (bench.root / "by hand").glob("*.sh"):
        done = subprocess.run([shellcheck, script], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
