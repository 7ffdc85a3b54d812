"""The example executor, built and installed for real: the suite on it, and what is its own."""

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

pytestmark = [pytest.mark.package, pytest.mark.xdist_group("package")]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the package beside this environment; return the folder it is in."""
    uv = shutil.which("uv")
    require("package", uv is not None, "uv is not installed")
    require("package", can_contain(), "making namespaces (unshare) is not allowed here")
    folder = tmp_path_factory.mktemp("installed")
    source = shutil.copytree(EXAMPLE, tmp_path_factory.mktemp("source") / "plugin")
    words = [str(uv), "pip", "install", "--quiet", "--no-deps", "--python", sys.executable, "--target", str(folder)]
    done = subprocess.run([*words, str(source)], capture_output=True, text=True, check=False, timeout=240)
    require("package", done.returncode == 0, f"the example cannot be built here: {done.stderr[-500:]}")
    return folder


@pytest.fixture
def double(tmp_path: Path) -> Iterator[Cluster]:
    with cluster(tmp_path / "cluster") as found:
        yield found


@pytest.fixture
def bench(installed: Path, double: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ExecutorBench:
    monkeypatch.syspath_prepend(str(installed))

    @contextmanager
    def disconnect() -> Iterator[None]:
        silence = Fault(".", None, times=1000)
        double.faults.append(silence)
        yield
        double.faults.remove(silence)

    return ExecutorBench(
        execution={"type": "kubernetes", "namespace": "evals", "image": "harness:1"},
        home=tmp_path / "home",
        scratch=tmp_path,
        environ={"KUBECONFIG": str(double.kubeconfig)},
        disconnect=disconnect,
        lose_response=lambda: double.faults.append(Fault("POST .*/jobs", None, after=True)),
        count_requests=lambda: len(double.seen),
    )


class TestKubernetes(RemoteExecutorSuite):
    pass


def test_a_preempted_pod_is_told_as_one(bench: ExecutorBench, double: Cluster) -> None:
    job, lock = bench.blocking_job()
    executor = bench.open()
    attempt = executor.submit(job, 1, INVOCATION)
    bench.wait_until_locked(lock)
    double.controller.preempt(f"{job.key}-1")
    (status,) = bench.wait_until_final(executor, attempt)
    assert (status.state, status.reason) == (JobState.FAILED, Reason.PREEMPTED)


def test_results_whose_log_was_cut_are_an_error(bench: ExecutorBench, double: Cluster) -> None:
    executor = bench.open()
    attempt = executor.submit(bench.job('seq 9 > "$NEL_OUTPUT_DIR/numbers"'), 1, INVOCATION)
    bench.wait_until_final(executor, attempt)
    double.faults.append(Fault("GET .*/log.*container=results", cut=120))
    with pytest.raises(CollectError, match="did not come whole"):
        executor.collect(attempt, bench.home / "out")
    assert not (bench.home / "out").exists()
    executor.collect(attempt, bench.home / "out")


def test_an_api_key_and_dollars_arrive_as_they_are(bench: ExecutorBench) -> None:
    bench.environ = {**bench.environ, "MODEL_API_KEY": "$(HOME) $$"}
    script = """test "$MODEL_API_KEY:$NEL_TASK:$1" = '$(HOME) $$:$$a:$(PATH)'"""
    endpoint = ApiEndpoint(url="http://127.0.0.1:9/v1", model_id="tiny", api_key_name="MODEL_API_KEY")
    target = Target(api_endpoint=endpoint)
    job = bench.job(script, "$(PATH)", name="$$a", target=target, env={"MODEL_API_KEY": "host:MODEL_API_KEY"})
    executor = bench.open()
    (status,) = bench.wait_until_final(executor, executor.submit(job, 1, INVOCATION))
    assert status.state is JobState.SUCCEEDED


def test_secrets_go_with_their_job(bench: ExecutorBench, double: Cluster) -> None:
    bench.environ = {**bench.environ, "KEY": "sk-made-up"}
    executor = bench.open()
    job = bench.job("true", env={"KEY": "host:KEY"})
    bench.wait_until_final(executor, executor.submit(job, 1, INVOCATION))
    assert "sk-made-up" not in json.dumps(double.store.things["jobs"])
    with double.lock:
        double.store.delete("jobs", f"{job.key}-1")
    assert double.store.things["secrets"] == {}


def test_a_token_that_is_not_valid_is_no_silence(bench: ExecutorBench, double: Cluster) -> None:
    double.token = "another"
    with pytest.raises(EngineError, match="Unauthorized"):
        bench.open().find([bench.job("true").key])
    (problem,) = bench.open().check(bench.plan(bench.job("true"), bench.job("true")))
    assert "Unauthorized" in problem.message


def test_what_it_leaves_out_is_said_before(bench: ExecutorBench) -> None:
    bench.execution = {"type": "kubernetes", "namespace": "evals"}
    job = bench.job("true", pre_cmd="echo", env={"A": "runtime:A"})
    assert len(bench.open().check(bench.plan(job))) == 3


def test_its_settings_are_checked(bench: ExecutorBench) -> None:
    bench.execution = {"type": "kubernetes", "namespaec": "evals"}
    with pytest.raises(SpecError, match=r"execution\.namespaec"):
        bench.open()


@pytest.fixture
def model() -> Iterator[OpenAIServer]:
    with OpenAIServer(Model(name="tiny")) as server:
        yield server


def test_a_spec_is_evaluated_from_end_to_end(
    installed: Path, double: Cluster, model: OpenAIServer, tmp_path: Path
) -> None:
    score = 'echo \'{"scores": {"accuracy": 0.75}, "n_items": 4}\' > "$NEL_OUTPUT_DIR/scores.json"'
    spec = {
        "target": {"api_endpoint": {"model_id": "tiny", "url": model.url()}},
        "execution": {"type": "kubernetes", "namespace": "evals", "image": "harness:1"},
        "evaluation": {"tasks": [{"name": "sums", "harness": "command", "command": ["sh", "-c", score]}]},
    }
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    environ = {name: value for name, value in os.environ.items() if not name.startswith("NEL_")}
    environ |= {"PYTHONPATH": str(installed), "NEL_ACTION_HOME": str(tmp_path / "home")}
    done = subprocess.run(
        [sys.executable, "-m", "nel_action", "run", "spec.yaml", "--wait"],
        cwd=tmp_path,
        env=environ | {"KUBECONFIG": str(double.kubeconfig)},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (results,) = (tmp_path / "runs").glob("*/results.json")
    (task,) = json.loads(results.read_text())["tasks"]
    assert task["scores"][0]["value"] == 0.75
    assert len(double.controller.started) == 1
