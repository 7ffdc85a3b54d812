"""The real harnesses in their locked environments, against a server with known answers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from tests.doubles.openai_server import Fault, Model, OpenAIServer
from tests.support.bindings import harness_task
from tests.support.real_harness import Finished, environment, run_harness, start_harness, uv
from tests.support.record import FOLDERS
from tests.support.require import require

from nel_action.errors import ResultsError
from nel_action.gating.external import open_run
from nel_action.model.results import Sample
from nel_action.model.task import EndpointType, HarnessTask

pytestmark = pytest.mark.harness

SUPPORT = Path(__file__).parents[2] / "support"
TASKS = {"lm_eval": "sums_add", "nemo": "sums_add", "inspect": "sums.py@sums_add"}
METRICS = {"lm_eval": "exact_match,strict", "nemo": "accuracy", "inspect": "match.accuracy"}
ALL = pytest.mark.parametrize("name", sorted(TASKS))


@pytest.fixture(autouse=True)
def _installer() -> None:
    require("harness", uv() is not None, "uv is not installed; it creates the harnesses' environments")


def run(name: str, task: HarnessTask, into: Path, server: OpenAIServer, key: str | None = None) -> Finished:
    route = "completions" if task.endpoint_type is EndpointType.COMPLETIONS_LOGPROBS else "chat"
    return run_harness(name, task, into, url=server.url(route), task_dir=SUPPORT / FOLDERS[name], key=key)


def small(name: str, **fields: Any) -> HarnessTask:  # noqa: ANN401 any field of a task
    """Return a task with short time limits."""
    return harness_task(TASKS[name], **{"parallelism": 4, "request_timeout": 20, "max_retries": 1} | fields)


def samples_of(finished: Finished) -> Sequence[Sample]:
    return list(finished.read().samples or ())


@ALL
def test_scores_and_samples_agree_with_the_answers_of_the_model(name: str, tmp_path: Path) -> None:
    model = Model(accuracy=0.6)
    with OpenAIServer(model, api_key="s3cret") as server:
        finished = run(
            name, small(name, metric=METRICS[name], temperature=0.25, seed=7), tmp_path, server, key="s3cret"
        )
    assert finished.exit_code == 0, finished.log[-2000:]

    result, samples = finished.read(), samples_of(finished)
    score = next(score for score in result.scores if score.metric == METRICS[name])

    assert len(samples) == result.n_items == score.n
    expected = {sample.id: model.knows(sample.input or "") for sample in samples}
    assert {sample.id: bool(sample.scores[METRICS[name]]) for sample in samples} == expected
    assert score.value == pytest.approx(sum(expected.values()) / len(expected))
    assert score.stderr is not None
    assert result.primary_metric == METRICS[name]
    assert {request.key for request in server.requests} == {"s3cret"}
    assert {request.body.get("temperature") for request in server.requests} == {0.25}
    assert "s3cret" not in finished.log + "".join(p.read_text(errors="replace") for p in text_files(finished.artifacts))


def text_files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".db"]


@ALL
def test_limit_is_applied_and_no_key_is_required(name: str, tmp_path: Path) -> None:
    with OpenAIServer() as server:
        finished = run(name, small(name, limit_samples=3, parallelism=1), tmp_path, server)
    assert finished.exit_code == 0, finished.log[-2000:]
    result = finished.read()
    assert (result.n_items, result.n_expected) == (3, 3)
    assert len({json.dumps(request.body["messages"]) for request in server.requests}) == 3


@ALL
def test_failed_requests_are_retried(name: str, tmp_path: Path) -> None:
    with OpenAIServer(Model(accuracy=1), faults=[Fault("error", tries=1)]) as server:
        finished = run(name, small(name, limit_samples=4, max_retries=1), tmp_path, server)
    assert finished.exit_code == 0, finished.log[-2000:]
    assert finished.read().scores[0].value == 1
    assert server.answered == 4
    assert len(server.requests) == 8


@ALL
@pytest.mark.parametrize("fault", [Fault("error", first=3), Fault("drop", first=3), Fault("malformed", first=3)])
def test_an_endpoint_that_fails_midway_yields_no_score(name: str, fault: Fault, tmp_path: Path) -> None:
    with OpenAIServer(Model(accuracy=1), faults=[fault]) as server:
        finished = run(name, small(name, limit_samples=6, max_retries=0), tmp_path, server)
    with pytest.raises(ResultsError):
        finished.read()
    assert len(server.requests) <= 6, "max_retries 0 disables retries"


@ALL
def test_a_rejected_key_yields_no_score(name: str, tmp_path: Path) -> None:
    with OpenAIServer(api_key="right") as server:
        finished = run(name, small(name, limit_samples=3), tmp_path, server, key="wrong")
    with pytest.raises(ResultsError):
        finished.read()


def test_answers_that_lm_eval_cannot_parse_are_reported_as_empty(tmp_path: Path) -> None:
    with OpenAIServer(Model(accuracy=1), faults=[Fault("garbage", last=2)]) as server:
        partial = run("lm_eval", small("lm_eval", limit_samples=4), tmp_path / "half", server)
    assert partial.read().usage == {"empty_rate": 0.5}
    with OpenAIServer(Model(accuracy=1), faults=[Fault("garbage")]) as server:
        empty = run("lm_eval", small("lm_eval", limit_samples=4), tmp_path / "none", server)
    assert empty.exit_code == 0
    with pytest.raises(ResultsError, match="all 4 answers are empty"):
        empty.read()


def test_log_likelihoods_use_the_tokenizer_of_the_server(tmp_path: Path) -> None:
    """With log-probabilities off by one token, as some servers return them, this task would score at chance level."""
    task = harness_task("sums_sub", endpoint_type=EndpointType.COMPLETIONS_LOGPROBS, metric="acc")
    with OpenAIServer(Model(accuracy=1)) as server:
        finished = run("lm_eval", task, tmp_path, server)
    assert finished.exit_code == 0, finished.log[-2000:]
    result = finished.read()
    assert (result.primary_metric, result.scores[0].value, result.n_items) == ("acc,none", 1, 6)


def test_tasks_of_lm_eval_are_loaded_if_the_folder_refers_to_one(tmp_path: Path) -> None:
    folder = tmp_path / "tasks"
    folder.mkdir()
    (folder / "mine.yaml").write_text("group: mine\ntask: [sums_elsewhere]\n")
    with OpenAIServer() as server:
        task = harness_task("mine")
        finished = run_harness("lm_eval", task, tmp_path / "run", url=server.url(), task_dir=folder)
    assert "lm-eval's own tasks are needed for sums_elsewhere" in finished.log
    with pytest.raises(ResultsError):
        finished.read()


def test_progress_is_parsed_from_the_log(tmp_path: Path) -> None:
    with OpenAIServer() as server:
        for name in ("lm_eval", "inspect"):
            finished = run(name, small(name, limit_samples=3), tmp_path / name, server)
            assert finished.progress is not None
            assert (finished.progress.done, finished.progress.total) == (3, 3)


def test_progress_of_nemo_is_the_request_count_of_its_adapter(tmp_path: Path) -> None:
    with OpenAIServer() as server:
        config = {"output_dir": str(tmp_path / "run" / "artifacts"), "progress_tracking_url": server.url()}
        adapter = {"interceptors": ["endpoint", {"name": "progress_tracking", "config": config}]}
        overrides = {"target": {"api_endpoint": {"adapter_config": adapter}}}
        finished = run("nemo", small("nemo", limit_samples=3, config=overrides), tmp_path / "run", server)
    assert finished.exit_code == 0, finished.log[-2000:]
    assert finished.progress is not None
    assert finished.progress.done == 3


def test_an_interrupted_nemo_run_yields_no_score(tmp_path: Path) -> None:
    task = small("nemo")
    with OpenAIServer(faults=[Fault("slow", seconds=5)]) as server:
        folder = SUPPORT / FOLDERS["nemo"]
        process, finished = start_harness("nemo", task, tmp_path, url=server.url(), task_dir=folder)
        _wait_for(lambda: bool(server.requests) or process.poll() is not None)
        os.kill(process.pid, signal.SIGTERM)
        process.wait(timeout=60)
    with pytest.raises(ResultsError, match="interrupted"):
        finished().read()


def _wait_for(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    assert condition()


def test_zipped_and_json_logs_of_inspect_are_equivalent(tmp_path: Path) -> None:
    with OpenAIServer(Model(accuracy=0.6)) as server:
        finished = run("inspect", small("inspect", metric=METRICS["inspect"]), tmp_path, server)
    convert = [str(environment("inspect") / "bin" / "inspect"), "log", "convert", "--to", "eval", "--output-dir"]
    subprocess.run([*convert, str(tmp_path / "zipped"), *map(str, finished.artifacts.glob("*.json"))], check=True)
    (plain,), (zipped,) = (open_run(path).results.tasks for path in (finished.artifacts, tmp_path / "zipped"))
    assert plain == zipped
    sides = [open_run(path).items(plain, "match.accuracy") for path in (finished.artifacts, tmp_path / "zipped")]
    assert sides[0] is not None
    assert sides[1] is not None
    assert (sides[0].index, sides[0].values.tolist()) == (sides[1].index, sides[1].values.tolist())
