"""The example executor, built and installed: the conformance suite, and tests of its own features."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from tests.doubles.kubernetes.server import Cluster, cluster
from tests.doubles.lepton.container import can_contain
from tests.doubles.lepton.faults import Fault
from tests.doubles.openai_server import Model, OpenAIServer
from tests.support.require import require

from nel_action.errors import CollectError, EngineError, SpecError
from nel_action.model.job import JobState, Reason
from nel_action.spec.target import ApiEndpoint, Target
from nel_action.testing.executor_suite import INVOCATION, ExecutorBench, RemoteExecutorSuite

EXAMPLE = Path(__file__).parents[2] / "examples" / "executor_kubernetes"

pytestmark = [pytest.mark.slow, pytest.mark.package, pytest.mark.xdist_group("package")]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build and install the package outside this environment; return its directory."""
    uv = shutil.which("uv")
    require("package", uv is not None, "uv is not installed")
    require("package", can_contain(), "creating namespaces (unshare) is not permitted")
    directory = tmp_path_factory.mktemp("installed")
    source = shutil.copytree(EXAMPLE, tmp_path_factory.mktemp("source") / "plugin")
    argv = [str(uv), "pip", "install", "--quiet", "--no-deps", "--python", sys.executable, "--target", str(directory)]
    completed = subprocess.run([*argv, str(source)], capture_output=True, text=True, check=False, timeout=240)
    require("package", completed.returncode == 0, f"cannot build the example: {completed.stderr[-500:]}")
    return directory


@pytest.fixture
def double(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path / "cluster") as running:
        yield running


@pytest.fixture
def bench(installed: Path, double: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ExecutorBench:
    monkeypatch.syspath_prepend(str(installed))

    @contextmanager
    def disconnect() -> Iterator[None]:
        fault = Fault(".", None, times=1000)
        double.faults.append(fault)
        yield
        double.faults.remove(fault)

    return ExecutorBench(
        execution={"type": "kubernetes", "namespace": "evals", "image": "harness:1"},
        home=tmp_path / "home",
        scratch=tmp_path,
        environ={"KUBECONFIG": str(double.kubeconfig)},
        disconnect=disconnect,
        lose_response=lambda: double.faults.append(Fault("POST .*/jobs", None, after=True)),
        count_requests=lambda: len(double.requests),
    )


class TestKubernetes(RemoteExecutorSuite):
    pass


def test_poll_reports_a_preempted_pod(bench: ExecutorBench, double: Cluster) -> None:
    job, lock = bench.blocking_job()
    executor = bench.open()
    attempt = executor.submit(job, 1, INVOCATION)
    bench.wait_until_locked(lock)
    double.controller.preempt(f"{job.key}-1")
    (status,) = bench.wait_until_final(executor, attempt)
    assert (status.state, status.reason) == (JobState.FAILED, Reason.PREEMPTED)


def test_collect_rejects_a_truncated_log(bench: ExecutorBench, double: Cluster) -> None:
    executor = bench.open()
    attempt = executor.submit(bench.job('seq 9 > "$NEL_OUTPUT_DIR/numbers"'), 1, INVOCATION)
    bench.wait_until_final(executor, attempt)
    double.faults.append(Fault("GET .*/log.*container=results", cut=120))
    with pytest.raises(CollectError, match="incomplete results"):
        executor.collect(attempt, bench.home / "out")
    assert not (bench.home / "out").exists()
    executor.collect(attempt, bench.home / "out")


def test_api_keys_and_dollar_signs_reach_the_job_unchanged(bench: ExecutorBench) -> None:
    bench.environ = {**bench.environ, "MODEL_API_KEY": "$(HOME) $$"}
    script = """test "$MODEL_API_KEY:$NEL_TASK:$1" = '$(HOME) $$:$$a:$(PATH)'"""
    endpoint = ApiEndpoint(url="http://127.0.0.1:9/v1", model_id="tiny", api_key_name="MODEL_API_KEY")
    target = Target(api_endpoint=endpoint)
    job = bench.job(script, "$(PATH)", name="$$a", target=target, env={"MODEL_API_KEY": "host:MODEL_API_KEY"})
    executor = bench.open()
    (status,) = bench.wait_until_final(executor, executor.submit(job, 1, INVOCATION))
    assert status.state is JobState.SUCCEEDED


def test_secrets_are_deleted_with_their_job(bench: ExecutorBench, double: Cluster) -> None:
    bench.environ = {**bench.environ, "KEY": "sk-made-up"}
    executor = bench.open()
    job = bench.job("true", env={"KEY": "host:KEY"})
    bench.wait_until_final(executor, executor.submit(job, 1, INVOCATION))
    assert "sk-made-up" not in json.dumps(double.store.objects["jobs"])
    with double.lock:
        double.store.delete("jobs", f"{job.key}-1")
    assert double.store.objects["secrets"] == {}


def test_an_invalid_token_is_reported_as_an_engine_error(bench: ExecutorBench, double: Cluster) -> None:
    double.token = "another"
    with pytest.raises(EngineError, match="Unauthorized"):
        bench.open().find([bench.job("true").key])
    (problem,) = bench.open().check(bench.plan(bench.job("true"), bench.job("true")))
    assert "Unauthorized" in problem.message


def test_check_reports_unsupported_features(bench: ExecutorBench) -> None:
    bench.execution = {"type": "kubernetes", "namespace": "evals"}
    job = bench.job("true", pre_cmd="echo", env={"A": "runtime:A"})
    assert len(bench.open().check(bench.plan(job))) == 3


def test_unknown_settings_are_rejected(bench: ExecutorBench) -> None:
    bench.execution = {"type": "kubernetes", "namespaec": "evals"}
    with pytest.raises(SpecError, match=r"execution\.namespaec"):
        bench.open()


@pytest.fixture
def model() -> Iterator[OpenAIServer]:
    with OpenAIServer(Model(name="tiny")) as server:
        yield server


def test_run_evaluates_a_spec(installed: Path, double: Cluster, model: OpenAIServer, tmp_path: Path) -> None:
    score = 'echo \'{"scores": {"accuracy": 0.75}, "n_items": 4}\' > "$NEL_OUTPUT_DIR/scores.json"'
    spec = {
        "target": {"api_endpoint": {"model_id": "tiny", "url": model.url()}},
        "execution": {"type": "kubernetes", "namespace": "evals", "image": "harness:1"},
        "evaluation": {"tasks": [{"name": "sums", "harness": "command", "command": ["sh", "-c", score]}]},
    }
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    environ = {name: value for name, value in os.environ.items() if not name.startswith("NEL_")}
    environ |= {"PYTHONPATH": str(installed), "NEL_ACTION_HOME": str(tmp_path / "home")}
    completed = subprocess.run(
        [sys.executable, "-m", "nel_action", "run", "spec.yaml", "--wait"],
        cwd=tmp_path,
        env=environ | {"KUBECONFIG": str(double.kubeconfig)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert completed.returncode == 0, completed.stdout + completed.stderr
    (results,) = (tmp_path / "runs").glob("*/results.json")
    (task,) = json.loads(results.read_text())["tasks"]
    assert task["scores"][0]["value"] == 0.75
    assert len(double.controller.started) == 1
