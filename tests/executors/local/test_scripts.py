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

from nel_action.planning.jobs import AdapterSteps, Context, Job, Plan
from nel_action.spec.deployment import GenericDeployment
from nel_action.spec.evaluation import Evaluation
from nel_action.spec.model import Spec

pytestmark = pytest.mark.slow

SCRIPT = (
    "import os\n"
    "out = os.environ['NEL_OUTPUT_DIR'] + '/scores.json'\n"
    "open(out, 'w').write(os.environ['KEY'] + os.environ['NOTE'] + open(os.environ['NEL_TASK_DIR'] + '/data').read())"
)
NOTE = """it's "quoted" $(touch pwned) `touch pwned` \\ ;&"""


@pytest.fixture
def quoting_job(bench: Bench) -> Job:
    """A job with text that breaks a script unless it is quoted."""
    directory = bench.root / "my tasks"
    directory.mkdir()
    (directory / "data").write_text("data")
    bench.environ = {**bench.environ, "MY_KEY": "s3cr3t 'value'"}
    env = {"KEY": "host:MY_KEY", "NOTE": f"lit:{NOTE}"}
    return job("one", SCRIPT, env=env, task_dir=directory, pre_cmd="echo before", post_cmd="echo after")


def write(directory: Path, texts: Mapping[str, str]) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        (directory / name).write_text(text)
        (directory / name).chmod(0o755)


def run(script: Path, environ: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([script], env=dict(environ), capture_output=True, text=True, check=False, timeout=120)


def test_run_script_produces_the_same_results_as_the_supervisor(bench: Bench, quoting_job: Job) -> None:
    executor = bench.executor()
    attempt = executor.submit(quoting_job, 1, INVOCATION)
    wait(executor, [attempt])
    executor.collect(attempt, bench.root / "out")
    texts = executor.scripts(quoting_job, 1)
    assert not any("s3cr3t" in text for text in texts.values())
    write(bench.root / "by hand", texts)
    process = run(bench.root / "by hand/run.sh", bench.environ)
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines() == ["before", "after"] == list(executor.logs(attempt, follow=False))
    by_hand = bench.root / "by hand/by-hand/artifacts/scores.json"
    assert by_hand.read_text() == (bench.root / "out/artifacts/scores.json").read_text()
    assert not list(bench.root.rglob("pwned"))


def test_run_script_names_an_unset_variable(bench: Bench, quoting_job: Job) -> None:
    write(bench.root / "by hand", bench.executor().scripts(quoting_job, 1))
    process = run(bench.root / "by hand/run.sh", {"PATH": os.environ["PATH"]})
    assert process.returncode != 0
    assert "set MY_KEY first" in process.stderr


def test_run_all_script_starts_the_model_server_once(bench: Bench) -> None:
    argv = (sys.executable, model_server.__file__, "{host}", "{port}", str(bench.root))
    deployment = GenericDeployment(command=argv, served_model_name="tiny", port=model_server.free_port())
    ask = "import os, urllib.request\nprint(urllib.request.urlopen(os.environ['NEL_URL'], b'{}').read().decode())"
    jobs = tuple(replace(job(f"j{n}", ask, index=n), deployment=deployment) for n in range(2))
    spec = Spec(deployment=deployment, evaluation=Evaluation())
    executor = bench.executor()
    write(bench.root / "run", executor.plan_scripts(Plan(spec=spec, context=Context(), jobs=jobs)))
    for item in jobs:
        write(bench.root / "run" / item.name, executor.scripts(item, 1))
    process = run(bench.root / "run/run_all.sh", bench.environ)
    assert process.returncode == 0, process.stderr
    assert process.stdout.count('"path": "/v1/chat/completions"') == 2
    assert (bench.root / "starts").read_text().count("\n") == 1


@pytest.mark.parametrize("runtime", ["process", "docker"])
def test_scripts_pass_shellcheck(bench: Bench, quoting_job: Job, runtime: str) -> None:
    shellcheck = shutil.which("shellcheck")
    if shellcheck is None:
        pytest.skip("shellcheck is not installed")
    executor = bench.executor(runtime=runtime)
    container_job = replace(quoting_job, image="repository/image:tag" if runtime == "docker" else None)
    plan = Plan(spec=Spec(), context=Context(), jobs=(container_job,))
    write(bench.root / "by hand", {**executor.scripts(container_job, 1), **executor.plan_scripts(plan)})
    for script in (bench.root / "by hand").glob("*.sh"):
        process = subprocess.run([shellcheck, script], capture_output=True, text=True, check=False)
        assert process.returncode == 0, process.stdout


def test_run_script_refuses_a_job_whose_answers_the_gateway_changes(bench: Bench) -> None:
    changed = replace(job("one", "print('run')"), adapter=AdapterSteps(steps={"reasoning": {}}))
    write(bench.root, bench.executor().scripts(changed, 1))
    refused = run(bench.root / "run.sh", bench.environ)
    assert (refused.returncode, "run\n" in refused.stdout) == (3, False)
    assert "the adapter steps of this job (reasoning) are applied by the gateway" in refused.stderr
    forced = run(bench.root / "run.sh", {**bench.environ, "NEL_WITHOUT_ADAPTER": "1"})
    assert forced.returncode == 0, forced.stderr


def test_run_script_has_the_limits_and_the_digest_of_the_plan(bench: Bench) -> None:
    digest = f"sha256:{'a' * 64}"
    one = job("one", "", image="registry.example/team/harness:1", image_digest=digest, command=("true",))
    text = bench.executor(runtime="docker", memory="2g").scripts(one, 1)["run.sh"]
    assert "--memory 2g --memory-swap 2g" in text
    assert f"image=registry.example/team/harness@{digest}\n" in text
    assert f"docker image inspect {digest} > /dev/null 2>&1 && image={digest}\n" in text
    assert '"$image"' in text
