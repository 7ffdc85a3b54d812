"""Further servers beside a job: started with it, told to it, and always taken down."""

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

ASK = (
    "import os, urllib.request\n"
    "for name in ('JUDGE_CHAT_URL', 'NEL_EXTRA_ASKED'):\n"
    "    print(os.environ[name] == os.environ['JUDGE_CHAT_URL'])\n"
    "    print(urllib.request.urlopen(os.environ[name], b'{}').read().decode())\n"
    "print(os.environ['JUDGE_MODEL_ID'])\n"
)


def judged(bench: Bench, name: str, how: str = "good", *, script: str = ASK, **fields: Any) -> Job:  # noqa: ANN401
    """Return a job that asks a judge."""
    words = (sys.executable, str(model_server.__file__), "{host}", "{port}", str(bench.root), how)
    judge = AuxiliaryGeneric.model_validate(
        {"port": 0, "command": words, "served_model_name": "wise", "env_vars": {"KEY": "host:MY_KEY"}}
        | fields.pop("judge", {})
    )
    made = job(name, script, auxiliary={"judge": judge}, **fields)
    params = replace(made.task.params, extra={"asked": "auxiliary_deployments.judge.chat_url"})
    return replace(made, task=replace(made.task, params=params))


def starts(bench: Bench) -> list[int]:
    """Return the process ids of all servers so far."""
    return [int(line) for line in (bench.root / "starts").read_text().split()]


def test_a_judge_is_shared_told_and_taken_down(bench: Bench) -> None:
    bench.environ = {**bench.environ, "MY_KEY": "s3cr3t-of-the-judge"}
    executor = bench.executor(parallelism=2)
    attempts = [executor.submit(judged(bench, f"j{n}", index=n), 1, INVOCATION) for n in range(2)]
    assert {status.state for status in wait(executor, attempts).values()} == {JobState.SUCCEEDED}
    answer = '{"path": "/v1/chat/completions", "key": "s3cr3t-of-the-judge"}'
    said = list(executor.logs(attempts[0], follow=False))
    assert said[-1] == "wise"
    assert said.count("True") == 2
    assert not any("s3cr3t" in line for line in said), answer
    assert len(starts(bench)) == 1
    assert gone(starts(bench)[0])
    executor.collect(attempts[0], bench.root / "out")
    assert "loading" in (bench.root / "out/logs/server-judge.log").read_text()


def test_a_judge_that_never_comes_fails_the_job_for_its_endpoint(bench: Bench) -> None:
    bench.environ = {**bench.environ, "MY_KEY": "k"}
    status = bench.run(judged(bench, "one", "dead"))[key("one")]
    assert (status.state, status.reason) == (JobState.FAILED, Reason.ENDPOINT)
    assert "no weights in the checkpoint" in (status.detail or "")


def test_what_a_judge_lacks_is_told_before_anything_is_spent(bench: Bench) -> None:
    wrong = judged(bench, "one", judge={"pre_cmd": "ls", "num_nodes": 2, "runtime": "docker"})
    plan = Plan(spec=Spec(), context=Context(), jobs=(wrong,))
    said = "\n".join(str(problem) for problem in bench.executor().check(plan))
    assert "auxiliary_deployments.judge.pre_cmd is shell text" in said
    assert "auxiliary_deployments.judge.image is missing" in said
    assert "auxiliary_deployments.judge asks for several machines" in said


def test_judge_and_model_by_hand(bench: Bench) -> None:
    bench.environ = {**bench.environ, "MY_KEY": "k"}
    words = (sys.executable, model_server.__file__, "{host}", "{port}", str(bench.root))
    model = GenericDeployment(
        command=words, served_model_name="tiny", port=model_server.free_port(), pre_cmd="echo before > told"
    )
    made = replace(judged(bench, "one", judge={"port": model_server.free_port()}), deployment=model)
    executor = bench.executor(trust_commands=True)
    folder = bench.root / "run"
    texts = executor.plan_scripts(Plan(spec=Spec(deployment=model), context=Context(), jobs=(made,)))
    assert set(texts) == {"run_all.sh", "serve.sh", "serve-judge.sh"}
    for name, text in {**texts, **{f"one/{name}": text for name, text in executor.scripts(made, 1).items()}}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    done = subprocess.run(
        [folder / "run_all.sh"], env=dict(bench.environ), capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "wise"
    assert (folder / "serving/told").read_text() == "before\n"
    assert len(starts(bench)) == 2
    assert all(gone(server) for server in starts(bench))


def test_scripts_of_containers_have_every_mount_and_are_clean(bench: Bench) -> None:
    mounts = {
        "deployment": {"data": "/data"},
        "evaluation": {"cache": "/cache:ro"},
        "auxiliary": {"judge": {"j": "/j"}},
    }
    model = GenericDeployment(
        command=("serve", "--port", "{port}"), image="own/server:1", pre_cmd="export A='b c'", cache_path="kept",
        checkpoint_path="weights", served_model_name="tiny",
    )  # fmt: skip
    made = judged(bench, "one", judge={"image": "own/judge:1", "command": ("judge",)})
    made = replace(made, image="own/harness:1", deployment=model, dataset=("questions", "/questions"))
    executor = bench.executor(runtime="docker", mounts=mounts, trust_commands=True, shm_size="2g")
    texts = executor.plan_scripts(Plan(spec=Spec(deployment=model), context=Context(), jobs=(made,)))
    texts = {**texts, **executor.scripts(made, 1)}
    for words in ("data:/data", "kept:/cache", "weights:/checkpoint:ro"):
        assert f"-v {bench.root}/{words}" in texts["serve.sh"]
    assert "pre_cmd.sh" in texts["serve.sh"]
    assert "--shm-size 2g" in texts["serve.sh"]
    assert f"-v {bench.root}/j:/j" in texts["serve-judge.sh"]
    assert f"-v {bench.root}/cache:/cache:ro" in texts["run.sh"]
    assert "export NEMO_EVALUATOR_DATASET_DIR=/questions" in texts["run.sh"]
    assert "export JUDGE_CHAT_URL=http://127.0.0.1:8001/v1/chat/completions" in texts["run.sh"]
    if shutil.which("shellcheck") is None:
        pytest.skip("no shellcheck here")
    for name, text in texts.items():
        (bench.root / name).write_text(text)
        done = subprocess.run(["shellcheck", bench.root / name], capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{name}\n{done.stdout}"


def test_data_is_told_where_it_lies_without_a_container(bench: Bench) -> None:
    (bench.root / "questions").mkdir()
    script = "import os; print(os.environ['NEMO_EVALUATOR_DATASET_DIR'])"
    executor = bench.executor()
    attempt = executor.submit(job("one", script, dataset=("questions", "/questions")), 1, INVOCATION)
    wait(executor, [attempt])
    assert list(executor.logs(attempt, follow=False)) == [str(bench.root / "questions")]
    assert Path(bench.root / "questions").is_dir()
