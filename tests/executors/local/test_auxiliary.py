"""Auxiliary model servers of a job: started with it, passed to its harness, and always stopped."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support import model_server
from tests.support.local_jobs import INVOCATION, Bench, job, key, wait
from tests.support.processes import gone

from nel_action.model.job import JobState, Reason
from nel_action.planning.jobs import Context, Job, Plan
from nel_action.spec.auxiliary import AuxiliaryGeneric
from nel_action.spec.deployment import GenericDeployment
from nel_action.spec.model import Spec

pytestmark = pytest.mark.slow

ASK = (
    "import os, urllib.request\n"
    "for name in ('JUDGE_CHAT_URL', 'NEL_EXTRA_ASKED'):\n"
    "    print(os.environ[name] == os.environ['JUDGE_CHAT_URL'])\n"
    "    print(urllib.request.urlopen(os.environ[name], b'{}').read().decode())\n"
    "print(os.environ['JUDGE_MODEL_ID'])\n"
)


def judged_job(bench: Bench, name: str, mode: str = "good", *, script: str = ASK, **fields: Any) -> Job:  # noqa: ANN401
    """Return a job that sends a request to an auxiliary server."""
    argv = (sys.executable, str(model_server.__file__), "{host}", "{port}", str(bench.root), mode)
    judge = AuxiliaryGeneric.model_validate(
        {"port": 0, "command": argv, "served_model_name": "wise", "env_vars": {"KEY": "host:MY_KEY"}}
        | fields.pop("judge", {})
    )
    plain = job(name, script, auxiliary={"judge": judge}, **fields)
    params = replace(plain.task.params, extra={"asked": "auxiliary_deployments.judge.chat_url"})
    return replace(plain, task=replace(plain.task, params=params))


def server_pids(bench: Bench) -> list[int]:
    """Return the process IDs of all servers that were started."""
    return [int(line) for line in (bench.root / "starts").read_text().split()]


def test_jobs_share_an_auxiliary_server_that_is_stopped_afterwards(bench: Bench) -> None:
    bench.environ = {**bench.environ, "MY_KEY": "s3cr3t-of-the-judge"}
    executor = bench.executor(parallelism=2)
    attempts = [executor.submit(judged_job(bench, f"j{n}", index=n), 1, INVOCATION) for n in range(2)]
    assert {status.state for status in wait(executor, attempts).values()} == {JobState.SUCCEEDED}
    output = list(executor.logs(attempts[0], follow=False))
    assert output[-1] == "wise"
    assert output.count("True") == 2
    assert not any("s3cr3t" in line for line in output)
    assert len(server_pids(bench)) == 1
    assert gone(server_pids(bench)[0])
    executor.collect(attempts[0], bench.root / "out")
    assert "loading" in (bench.root / "out/logs/server-judge.log").read_text()


def test_a_job_fails_if_its_auxiliary_server_does_not_start(bench: Bench) -> None:
    bench.environ = {**bench.environ, "MY_KEY": "k"}
    status = bench.run(judged_job(bench, "one", "dead"))[key("one")]
    assert (status.state, status.reason) == (JobState.FAILED, Reason.ENDPOINT)
    assert "no weights in the checkpoint" in (status.detail or "")


def test_check_reports_problems_of_auxiliary_servers(bench: Bench) -> None:
    wrong = judged_job(bench, "one", judge={"pre_cmd": "ls", "num_nodes": 2, "runtime": "docker"})
    plan = Plan(spec=Spec(), context=Context(), jobs=(wrong,))
    messages = "\n".join(str(problem) for problem in bench.executor().check(plan))
    assert "auxiliary_deployments.judge.pre_cmd is a shell command" in messages
    assert "auxiliary_deployments.judge.image is missing" in messages
    assert "auxiliary_deployments.judge requires several machines" in messages


def test_scripts_start_the_model_server_and_the_auxiliary_server(bench: Bench) -> None:
    bench.environ = {**bench.environ, "MY_KEY": "k"}
    argv = (sys.executable, model_server.__file__, "{host}", "{port}", str(bench.root))
    model = GenericDeployment(
        command=argv, served_model_name="tiny", port=model_server.free_port(), pre_cmd="echo before > output"
    )
    plan_job = replace(judged_job(bench, "one", judge={"port": model_server.free_port()}), deployment=model)
    executor = bench.executor(trust_commands=True)
    directory = bench.root / "run"
    texts = executor.plan_scripts(Plan(spec=Spec(deployment=model), context=Context(), jobs=(plan_job,)))
    assert set(texts) == {"run_all.sh", "serve.sh", "serve-judge.sh"}
    job_texts = {f"one/{name}": text for name, text in executor.scripts(plan_job, 1).items()}
    for name, text in {**texts, **job_texts}.items():
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        (directory / name).write_text(text)
        (directory / name).chmod(0o755)
    process = subprocess.run(
        [directory / "run_all.sh"], env=dict(bench.environ), capture_output=True, text=True, check=False, timeout=120
    )
    assert process.returncode == 0, process.stderr
    assert process.stdout.splitlines()[-1] == "wise"
    assert (directory / "serving/output").read_text() == "before\n"
    assert len(server_pids(bench)) == 2
    assert all(gone(pid) for pid in server_pids(bench))


def test_container_scripts_have_every_mount_and_pass_shellcheck(bench: Bench) -> None:
    mounts = {
        "deployment": {"data": "/data"},
        "evaluation": {"cache": "/cache:ro"},
        "auxiliary": {"judge": {"j": "/j"}},
    }
    model = GenericDeployment(
        command=("serve", "--port", "{port}"), image="own/server:1", pre_cmd="export A='b c'", cache_path="kept",
        checkpoint_path="weights", served_model_name="tiny",
    )  # fmt: skip
    container_job = judged_job(bench, "one", judge={"image": "own/judge:1", "command": ("judge",)})
    container_job = replace(container_job, image="own/harness:1", deployment=model, dataset=("questions", "/questions"))
    executor = bench.executor(runtime="docker", mounts=mounts, trust_commands=True, shm_size="2g")
    texts = executor.plan_scripts(Plan(spec=Spec(deployment=model), context=Context(), jobs=(container_job,)))
    texts = {**texts, **executor.scripts(container_job, 1)}
    for volume in ("data:/data", "kept:/cache", "weights:/checkpoint:ro"):
        assert f"-v {bench.root}/{volume}" in texts["serve.sh"]
    assert "pre_cmd.sh" in texts["serve.sh"]
    assert "--shm-size 2g" in texts["serve.sh"]
    assert f"-v {bench.root}/j:/j" in texts["serve-judge.sh"]
    assert f"-v {bench.root}/cache:/cache:ro" in texts["run.sh"]
    assert "export NEMO_EVALUATOR_DATASET_DIR=/questions" in texts["run.sh"]
    assert "export JUDGE_CHAT_URL=http://127.0.0.1:8001/v1/chat/completions" in texts["run.sh"]
    if shutil.which("shellcheck") is None:
        pytest.skip("shellcheck is not installed")
    for name, text in texts.items():
        (bench.root / name).write_text(text)
        process = subprocess.run(["shellcheck", bench.root / name], capture_output=True, text=True, check=False)
        assert process.returncode == 0, f"{name}\n{process.stdout}"


def test_without_a_container_the_data_set_variable_is_a_local_path(bench: Bench) -> None:
    (bench.root / "questions").mkdir()
    script = "import os; print(os.environ['NEMO_EVALUATOR_DATASET_DIR'])"
    executor = bench.executor()
    attempt = executor.submit(job("one", script, dataset=("questions", "/questions")), 1, INVOCATION)
    wait(executor, [attempt])
    assert list(executor.logs(attempt, follow=False)) == [str(bench.root / "questions")]
    assert Path(bench.root / "questions").is_dir()
