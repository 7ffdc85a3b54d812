from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path, PurePosixPath

import pytest
from tests.support.bindings import binding, harness_task
from tests.support.gate_results import make_policy

from nel_action.errors import ResultsError
from nel_action.gating.external import open_run
from nel_action.gating.judge import judge_result_set
from nel_action.harnesses.command import HARNESS
from nel_action.model.results import Sample, read_samples, write_samples
from nel_action.model.task import Progress

PROGRAM = """
import json, os, sys
out = os.environ["NEL_OUTPUT_DIR"]
limit = int(os.environ["NEL_LIMIT_SAMPLES"])
with open(os.path.join(out, "samples.jsonl"), "w") as lines:
    for i in range(limit):
        print(json.dumps({"id": f"q{i}", "scores": {"accuracy": float(i % 2)}}), file=lines)
scores = {"accuracy": {"value": 0.5, "stderr": 0.1, "higher_is_better": True}}
with open(os.path.join(out, "scores.json"), "w") as file:
    json.dump({"scores": scores, "n_items": limit, "task_version": sys.argv[1]}, file)
"""


def write(folder: Path, data: object, samples: str | None = None) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "scores.json").write_text(json.dumps(data))
    if samples is not None:
        (folder / "samples.jsonl").write_text(samples)
    return folder


def scores(**fields: object) -> dict[str, object]:
    return {"scores": {"accuracy": {"value": 0.5}}} | fields


def test_command_runs_a_program_and_read_parses_its_files(tmp_path: Path) -> None:
    (tmp_path / "tasks").mkdir()
    (tmp_path / "tasks" / "evaluate.py").write_text(PROGRAM)
    task = harness_task(command=(sys.executable, "{task_dir}/evaluate.py", "7"), limit_samples=4)
    directory = PurePosixPath(tmp_path)
    command = HARNESS.command(task, binding(output_dir=directory, work_dir=directory, task_dir=directory / "tasks"))
    subprocess.run(command.argv, env=dict(os.environ) | dict(command.env), check=True, cwd=tmp_path)

    result = HARNESS.read(task, tmp_path)

    (score,) = result.scores
    assert (score.metric, score.value, score.stderr, score.n) == ("accuracy", 0.5, 0.1, 4)
    assert (result.primary_metric, result.n_items, result.task_version) == ("accuracy", 4, "7")
    assert [sample.id for sample in result.samples or ()] == ["q0", "q1", "q2", "q3"]


def test_command_passes_parameters_in_the_environment_and_no_secret() -> None:
    task = harness_task(command=("./evaluate",), limit_samples=0.5, parallelism=3, extra={"shots": 5})
    command = HARNESS.command(task, binding(api_key_name="MODEL_KEY"))
    assert command.secret_env == {"MODEL_KEY": "MODEL_KEY"}
    assert command.env == {
        "PYTHONUNBUFFERED": "1",
        "NEL_TASK": "asdiv",
        "NEL_URL": "http://127.0.0.1:8000/v1/chat/completions",
        "NEL_MODEL_ID": "acme-7b",
        "NEL_ENDPOINT_TYPE": "chat",
        "NEL_OUTPUT_DIR": "/results",
        "NEL_API_KEY_NAME": "MODEL_KEY",
        "NEL_LIMIT_SAMPLES": "0.5",
        "NEL_PARALLELISM": "3",
        "NEL_REQUEST_TIMEOUT": "600.0",
        "NEL_MAX_RETRIES": "5",
        "NEL_SEED": "1234",
        "NEL_EXTRA_SHOTS": "5",
    }


def test_command_keeps_braces_that_are_not_placeholders() -> None:
    task = harness_task(command=("jq", "{a: .b}", "{output_dir}/x"))
    assert HARNESS.command(task, binding()).argv == ("jq", "{a: .b}", "/results/x")


def test_a_task_without_a_command_is_a_problem() -> None:
    assert "has no command" in str(*HARNESS.check(harness_task()))
    assert not HARNESS.check(harness_task(command=("true",)))


@pytest.mark.parametrize("value", [None, "N/A", float("nan"), float("inf"), True, {}])
def test_what_is_no_number_is_a_missing_score(tmp_path: Path, value: object) -> None:
    write(tmp_path, {"scores": {"bad": {"value": value}, "good": 0.25}})
    assert [score.metric for score in HARNESS.read(harness_task(), tmp_path).scores] == ["good"]


def test_a_wanted_metric_that_is_missing_is_not_replaced(tmp_path: Path) -> None:
    result = HARNESS.read(harness_task(metric="f1"), write(tmp_path, scores()))
    assert result.primary_metric == "f1"
    assert "f1" not in {score.metric for score in result.scores}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "no scores.json: the harness exited without writing its results"),
        ("", "is not valid JSON"),
        ('{"scores": {"accuracy"', "is not valid JSON"),
        ("[1]", "contains a list"),
        ('{"scores": {}}', "contains no finite score"),
        ('{"scores": {"accuracy": {"value": NaN}}}', "contains no finite score"),
        ('{"scores": {"accuracy": 1}, "n_item": 3}', "n_item"),
        ('{"scores": {"accuracy": {"value": 1, "error": 3}}}', "scores.accuracy.error"),
        ('{"scores": {"accuracy": 1}, "n_items": "many"}', "n_items"),
    ],
)
def test_read_rejects_an_invalid_scores_file(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        (tmp_path / "scores.json").write_text(text)
    with pytest.raises(ResultsError, match=message):
        HARNESS.read(harness_task(), tmp_path)


SAMPLE = '{"id": "a", "scores": {"accuracy": 1}}\n'


@pytest.mark.parametrize(
    ("samples", "message"),
    [
        (SAMPLE, "has 1 items, but scores.json has n_items 2"),
        (SAMPLE * 2, "duplicate items"),
        (SAMPLE + '{"id": "b", "sco', "line 2, is not valid JSON"),
        (SAMPLE + '{"id": "b"}\n', "line 2: scores: Field required"),
        (SAMPLE + '{"id": "b", "scores": {"accuracy": NaN}}\n', "line 2: scores.accuracy"),
    ],
)
def test_read_rejects_samples_that_contradict_the_scores_file(tmp_path: Path, samples: str, message: str) -> None:
    write(tmp_path, scores(n_items=2), samples)
    with pytest.raises(ResultsError, match=message):
        HARNESS.read(harness_task(), tmp_path)


@pytest.mark.parametrize(
    ("declared", "limit", "expected"),
    [(None, None, 10), (40, None, 40), (40, 5, 5), (40, 0.1, 4), (3, 5, 3)],
)
def test_expected_items_of_the_spec_take_precedence(
    tmp_path: Path, declared: int | None, limit: float | None, expected: int
) -> None:
    write(tmp_path, scores(n_expected=10))
    result = HARNESS.read(harness_task(expected_items=declared, limit_samples=limit), tmp_path)
    assert result.n_expected == expected


def test_progress_reads_progress_json(tmp_path: Path) -> None:
    assert HARNESS.progress(tmp_path, "") is None
    (tmp_path / "progress.json").write_text('{"done": 3, "total": 10}')
    assert HARNESS.progress(tmp_path, "") == Progress(3, 10)
    (tmp_path / "progress.json").write_text('{"done": 3, "to')
    assert HARNESS.progress(tmp_path, "") is None


def test_read_replaces_halves_of_surrogate_pairs(tmp_path: Path) -> None:
    line = r'{"id": "q\ud83d", "scores": {"acc\udc00": 1}, "output": "cut \ud83d\ude00 \ud83d"}'
    content = {"scores": {"acc\udc00": {"value": 1.0}}, "n_items": 1}
    result = HARNESS.read(harness_task(command=("x",)), write(tmp_path, content, f"{line}\n"))
    samples = list(result.samples or ())
    assert [score.metric for score in result.scores] == ["acc\ufffd"]
    assert [(sample.id, sample.output) for sample in samples] == [("q\ufffd", "cut \U0001f600 \ufffd")]
    assert write_samples(samples, tmp_path / "s.jsonl.gz") == 1
    assert list(read_samples(tmp_path / "s.jsonl.gz")) == samples


def test_samples_of_any_reader_are_written_without_halves_of_surrogate_pairs(tmp_path: Path) -> None:
    sample = Sample(id="q", scores={"acc": 1.0}, output="\ud800", input="\ude00x")
    assert write_samples([sample], tmp_path / "s.jsonl.gz") == 1
    (written,) = read_samples(tmp_path / "s.jsonl.gz")
    assert (written.output, written.input, written.scores) == ("\ufffd", "\ufffdx", {"acc": 1.0})


@pytest.mark.parametrize(
    ("stated", "exit_code"), [({}, 3), ({"mean_of_items": True}, 3), ({"mean_of_items": False}, 0)]
)
def test_score_is_the_mean_of_its_samples_unless_the_file_states_otherwise(
    tmp_path: Path, stated: dict[str, object], exit_code: int
) -> None:
    lines = [json.dumps({"id": str(index), "scores": {"acc": float(index < 430)}}) for index in range(500)]
    content = {"scores": {"acc": {"value": 0.95, "stderr": 0.01, "higher_is_better": True} | stated}, "n_items": 500}
    task = write(tmp_path / "mine", content, "\n".join([*lines, ""]))
    run, policy = open_run(task), make_policy({"defaults": {"min": 0.9}})
    name = run.results.tasks[0].task
    report = judge_result_set(run, policy=policy, baseline=None, expected=[name])
    assert report.exit_code == exit_code
    assert exit_code == 0 or "0.86" in report.reasons[0]
