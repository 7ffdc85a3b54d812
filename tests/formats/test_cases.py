"""Test reports and files of other programs as lists of cases, recorded from the programs themselves."""

from __future__ import annotations

import json
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from nel_action.errors import NelActionError
from nel_action.formats import lighteval
from nel_action.gating.external import open_run
from nel_action.gating.judge import judge_result_set
from nel_action.gating.result_set import ResultSet
from nel_action.gating.verdict import GateReport, Verdict
from nel_action.model.results import TaskResult
from nel_action.spec.policy import GatePolicy

RECORDED = Path(__file__).parent / "recorded"
FILES = (
    "junit_pytest.xml",
    "junit_vitest.xml",
    "promptfoo.json",
    "deepeval_latest_test_run.json",
    "deepeval_results_folder.json",
    "lighteval",
    "every_eval_ever",
    "harbor",
    "scores_json",
)


def judge(*runs: Path, **limits: object) -> GateReport:
    sets = [open_run(path) for path in runs]
    expected = list(dict.fromkeys(result.task for run in sets for result in run.results.tasks))
    policy = GatePolicy.model_validate({"defaults": limits}, strict=False)
    return judge_result_set(sets[-1], policy=policy, baseline=sets[0] if len(sets) > 1 else None, expected=expected)


def results(path: Path) -> dict[str, TaskResult]:
    return {result.task: result for result in open_run(path).results.tasks}


def edited(name: str, target: Path, edit: Callable[[Any], object]) -> Path:
    data = json.loads((RECORDED / name).read_text())
    edit(data)
    target.write_text(json.dumps(data))
    return target


def item_values(run: ResultSet, result: TaskResult, metric: str) -> dict[str, float]:
    items = run.items(result, metric)
    assert items is not None
    return dict(zip(items.index, items.values.tolist(), strict=True))


def test_junit_of_pytest_has_one_item_for_each_case_that_ran() -> None:
    run = open_run(RECORDED / "junit_pytest.xml")
    (result,) = run.results.tasks
    assert (result.task, result.harness, result.primary_metric, result.n_items) == ("pytest", "junit", "pass_rate", 8)
    values = item_values(run, result, "pass_rate")
    assert values["test_answers::test_answer[q0]"] == 1
    assert values["test_answers::test_answer[q2]"] == 0
    assert values["test_answers::test_error"] == 0
    assert values["test_answers.TestTools::test_call"] == 1
    assert "test_answers::test_skipped" not in values
    assert "test_answers::test_known" not in values
    assert result.scores[0].value == 5 / 8
    assert result.scores[0].higher_is_better is True


def test_junit_of_vitest_has_one_task_for_each_suite() -> None:
    tasks = results(RECORDED / "junit_vitest.xml")
    figures = {name: (task.n_items, task.scores[0].value) for name, task in tasks.items()}
    assert figures == {"answers.test.js": (4, 0.75), "tools.test.js": (1, 1.0)}
    assert "answers.test.js::answers > question 2" in item_values(
        open_run(RECORDED / "junit_vitest.xml"), tasks["answers.test.js"], "pass_rate"
    )


def test_junit_case_that_fails_now_is_named_in_the_comparison(tmp_path: Path) -> None:
    text = (RECORDED / "junit_pytest.xml").read_text()
    case = '<testcase classname="test_answers" name="test_answer[q0]" time="0.001" />'
    assert case in text
    failed = tmp_path / "junit.xml"
    failed.write_text(text.replace(case, case.replace(" />", "><failure message='x'/></testcase>")))
    comparison = judge(RECORDED / "junit_pytest.xml", failed, max_drop=0.9).tasks[0].comparison
    assert comparison is not None
    assert [flip.id for flip in comparison.worse] == ["test_answers::test_answer[q0]"]


def test_junit_suite_with_fewer_cases_than_it_states_is_unmeasurable(tmp_path: Path) -> None:
    file = tmp_path / "junit.xml"
    file.write_text((RECORDED / "junit_pytest.xml").read_text().replace('tests="10"', 'tests="12"'))
    assert "only 8 of 10 items were evaluated" in judge(file, min=0.1).reasons[0]


def test_junit_of_skipped_cases_alone_is_unmeasurable(tmp_path: Path) -> None:
    file = tmp_path / "junit.xml"
    file.write_text('<testsuite name="s" tests="1"><testcase name="a"><skipped/></testcase></testsuite>')
    assert "no case of s was measured" in judge(file, min=0.1).reasons[0]


def test_junit_with_entities_is_rejected_without_expanding_them(tmp_path: Path) -> None:
    file = tmp_path / "junit.xml"
    entities = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
    file.write_text(
        f'<!DOCTYPE t [<!ENTITY e0 "x">{entities}]><testsuite name="&e11;"><testcase name="a"/></testsuite>'
    )
    with pytest.raises(NelActionError, match="the document type t is not supported"):
        open_run(file)


def test_junit_case_without_status_that_did_not_run_is_no_measurement(tmp_path: Path) -> None:
    file = tmp_path / "junit.xml"
    cases = '<testcase name="a" status="run"/><testcase name="b" status="notrun"/><testcase name="c" result="skipped"/>'
    file.write_text(f'<testsuites><testsuite name="gtest">{cases}</testsuite></testsuites>')
    assert results(file)["gtest"].n_items == 1


def test_promptfoo_has_one_task_for_each_prompt_and_excludes_errors_from_the_measurement() -> None:
    tasks = results(RECORDED / "promptfoo.json")
    assert list(tasks) == ["What is {{n}} + 1?", "Compute {{n}} + 1."]
    result = tasks["What is {{n}} + 1?"]
    assert (result.n_items, result.n_expected, result.harness_version) == (4, 5, "0.121.20")
    assert {score.metric: score.value for score in result.scores} == {"pass_rate": 0.75, "score": 0.6875, "exact": 0.75}
    assert result.usage == {"prompt_tokens": 28, "completion_tokens": 8, "cost_usd": 0.004}
    assert "only 4 of 5 items were evaluated" in judge(RECORDED / "promptfoo.json", min=0.1).reasons[0]


def without_errors(data: Any) -> None:  # noqa: ANN401 a JSON document
    data["results"]["results"] = [row for row in data["results"]["results"] if row["failureReason"] != 2]
    for prompt in data["results"]["prompts"]:
        prompt["metrics"]["testErrorCount"] = 0


def test_promptfoo_pairs_the_same_tests_of_two_runs(tmp_path: Path) -> None:
    run = edited("promptfoo.json", tmp_path / "a.json", without_errors)
    report = judge(run, run, max_drop=0.9)
    assert report.verdict is Verdict.PASS
    assert [task.comparison.n_paired for task in report.tasks if task.comparison] == [4, 4]


def test_promptfoo_with_other_assertions_is_another_task(tmp_path: Path) -> None:
    def change(data: Any) -> None:  # noqa: ANN401 a JSON document
        without_errors(data)
        data["results"]["results"][0]["testCase"]["assert"][0]["value"] = "7"

    run = edited("promptfoo.json", tmp_path / "a.json", without_errors)
    other = edited("promptfoo.json", tmp_path / "b.json", change)
    report = judge(run, other, max_drop=0.9)
    assert "the prompt or the task differs" in report.reasons[0]


def test_promptfoo_without_some_of_its_cases_is_unmeasurable(tmp_path: Path) -> None:
    run = edited("promptfoo.json", tmp_path / "a.json", lambda data: data["results"]["results"].pop(0))
    assert "passed, failed and erroneous cases" in judge(run, min=0.1).reasons[0]


@pytest.mark.parametrize("name", ["deepeval_latest_test_run.json", "deepeval_results_folder.json"])
def test_deepeval_metrics_count_the_cases_that_have_a_value(name: str) -> None:
    result = results(RECORDED / name)["deepeval"]
    figures = {score.metric: (round(score.value, 9), score.n) for score in result.scores}
    assert figures["Exact"] == (round(5 / 6, 9), 6)
    assert figures["Length"] == (0.4, 5)
    assert figures["Length.pass_rate"] == (0.2, 5)
    assert figures["pass_rate"] == (0.0, 5)
    assert judge(RECORDED / name, min=0.1, metric="Exact").verdict is Verdict.PASS
    assert "pass_rate was computed from only 5 of 6 items" in judge(RECORDED / name, min=0.01).reasons[0]


def test_deepeval_without_some_of_its_cases_is_unmeasurable(tmp_path: Path) -> None:
    run = edited("deepeval_results_folder.json", tmp_path / "a.json", lambda data: data["testCases"].pop())
    assert "states other counts of Exact" in judge(run, min=0.1, metric="Exact").reasons[0]


def test_lighteval_is_judged_by_its_standard_errors_and_its_total_is_no_task(tmp_path: Path) -> None:
    run = RECORDED / "lighteval"
    tasks = results(run)
    assert set(tasks) == {"sums|0", "sums:_average|0"}
    score = tasks["sums|0"].scores[0]
    assert (score.metric, score.value, round(score.stderr or 0, 4)) == ("em", 0.75, 0.1637)
    assert score.higher_is_better is True
    assert (tasks["sums|0"].harness, tasks["sums|0"].n_shot, tasks["sums|0"].n_items) == ("lighteval", 0, None)
    assert "sums:more|0" in {result.task for result in open_run(run).with_tasks(["sums:more|0"]).results.tasks}
    other = tmp_path / "run"
    shutil.copytree(run, other)
    file = next(other.glob("*.json"))
    file.write_text(file.read_text().replace("ef46db3751d8e999", "0000000000000000"))
    report = judge(run, other, max_drop=0.9, metric="em", direction="higher_is_better")
    assert any("the prompt or the task differs" in reason for task in report.tasks for reason in task.reasons)


def lighteval_run(folder: Path) -> Path:
    """Return a run of lighteval with `--save-details`; its file names are not possible on every system."""
    time = "2026-11-30T23-07-56.855389"
    results, details = folder / "results" / "fixed", folder / "details" / "fixed" / time
    results.mkdir(parents=True)
    details.mkdir(parents=True)
    shutil.copy(RECORDED / "lighteval_details" / f"results_{time}.json", results)
    shutil.copy(RECORDED / "lighteval_details" / "details_sums_0.parquet", details / f"details_sums|0_{time}.parquet")
    return folder


def test_lighteval_pairs_the_items_of_its_details(tmp_path: Path) -> None:
    run = lighteval_run(tmp_path / "run")
    result = results(run)["sums|0"]
    assert (result.n_items, result.scores[0].value) == (8, 0.75)
    items = open_run(run).items(result, "em")
    assert items is not None
    assert set(items.index) == set("01234567")
    assert items.values.mean() == 0.75
    task = next(task for task in judge(run, run, max_drop=0.9).tasks if task.task == "sums|0")
    assert task.comparison is not None
    assert task.comparison.n_paired == 8


def test_lighteval_without_pyarrow_is_judged_by_its_standard_errors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(lighteval, "find_spec", lambda _name: None)
    run = open_run(lighteval_run(tmp_path / "run"))
    (result,) = (result for result in run.results.tasks if result.task == "sums|0")
    assert run.items(result, "em") is None
    assert "`pip install pyarrow`" in caplog.text


@pytest.mark.parametrize("kept", [0, 4, 5000, 15000])
def test_lighteval_with_truncated_details_is_unmeasurable(tmp_path: Path, kept: int) -> None:
    run = lighteval_run(tmp_path / "run")
    (file,) = run.rglob("*.parquet")
    file.write_bytes(file.read_bytes()[:kept])
    result = results(run)["sums|0"]
    assert "cannot read details_sums|0_" in (result.detail or "")


def test_every_eval_ever_pairs_the_instances_of_two_records() -> None:
    run = RECORDED / "every_eval_ever"
    result = results(run)["t_mc"]
    assert (result.primary_metric, result.n_items, result.model) == ("acc", 60, "acme/fixed")
    assert result.harness_version == "lm_eval 0.4.13"
    assert [(score.metric, score.value, score.n, score.higher_is_better) for score in result.scores] == [
        ("acc", 0.3, 60, True),
        ("acc_norm", 0.2833333333333333, 60, True),
    ]
    comparison = judge(run, run, max_drop=0.3).tasks[0].comparison
    assert comparison is not None
    assert comparison.n_paired == 60


def test_every_eval_ever_with_instances_of_another_task_is_unmeasurable() -> None:
    report = judge(RECORDED / "every_eval_ever_mixed", min=0.1)
    assert "the samples file has only 20 of 60 items" in report.reasons[0]


def test_every_eval_ever_with_changed_instances_is_unmeasurable(tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(RECORDED / "every_eval_ever", run)
    samples = next(run.glob("*.jsonl"))
    samples.write_text(samples.read_text().replace('"score": 0.0', '"score": 1.0', 5))
    assert "does not have the checksum" in judge(run, min=0.1).reasons[0]
    samples.write_text("".join(samples.read_text().splitlines(keepends=True)[:-1]))
    assert "has 119 rows" in judge(run, min=0.1).reasons[0]


def test_harbor_counts_trials_as_repeats_and_invalid_rewards_as_missing(tmp_path: Path) -> None:
    run = RECORDED / "harbor"
    result = results(run)["sums"]
    assert (result.n_items, result.n_expected, result.model, result.primary_metric) == (5, 6, "acme/fixed", "reward")
    assert "only 5 of 6 items were evaluated" in judge(run, min=0.1).reasons[0]
    complete = tmp_path / "job"
    shutil.copytree(run, complete)
    for name in ("task-5__a1bcdef", "task-5__a0bcdef"):
        shutil.rmtree(complete / name)
    assert "has 10 of 12 trials" in judge(complete, min=0.1).reasons[0]
    job = json.loads((complete / "result.json").read_text())
    (complete / "result.json").write_text(json.dumps(job | {"n_total_trials": 10}))
    values = item_values(open_run(complete), results(complete)["sums"], "reward")
    assert values == {"task-0": 0.5, "task-1": 1, "task-2": 0.5, "task-3": 0.5, "task-4": 0.5}
    comparison = judge(complete, complete, max_drop=0.9).tasks[0].comparison
    assert comparison is not None
    assert comparison.n_paired == 5


def test_scores_of_the_command_harness_are_read_from_a_directory_of_tasks_or_a_single_one(tmp_path: Path) -> None:
    run = RECORDED / "scores_json"
    result = results(run)["sums"]
    assert (result.harness, result.n_items, result.primary_metric) == ("command", 8, "accuracy")
    assert set(results(run / "sums")) == set(results(run / "sums" / "scores.json")) == {"scores"}
    comparison = judge(run, run, max_drop=0.9).tasks[0].comparison
    assert comparison is not None
    assert comparison.n_paired == 8
    other = tmp_path / "scores.json"
    other.write_text('{"scores": {"a": 1}, "unknown": 2}')
    with pytest.raises(NelActionError, match="no results in"):
        open_run(other)


def damaged_bytes(content: bytes, seed: int) -> bytes:
    """Return a damaged copy: cut, with bytes changed, or with a value, key, tag or line replaced."""
    rng = random.Random(seed)  # noqa: S311 no secret
    position = rng.randrange(len(content))
    match seed % 5:
        case 0:
            return content[:position]
        case 1:
            return content[:position] + bytes(rng.randrange(256) for _ in range(3)) + content[position + 3 :]
        case 2:
            start = content.find(b":", position)
            junk = rng.choice([b"null", b"[]", b"{}", b"NaN", b"-1", b'"x"', b"1e999", b"true"])
            return content[: start + 1] + junk + content[content.find(b",", start) :]
        case 3:
            lines = content.splitlines(keepends=True)
            del lines[rng.randrange(len(lines))]
            return b"".join(lines)
        case _:
            word = rng.choice([b"score", b"success", b"name", b"testcase", b"results", b"metric", b"tests", b"value"])
            return content.replace(word, rng.choice([b"x", b"", b"1", b"\xff", b"<"]), 1 + rng.randrange(3))


@pytest.mark.parametrize("seed", range(40))
@pytest.mark.parametrize("name", FILES)
def test_damaged_files_raise_no_other_error_and_no_score_contradicts_its_items(
    name: str, seed: int, tmp_path: Path
) -> None:
    source, damaged = RECORDED / name, tmp_path / name
    (shutil.copytree if source.is_dir() else shutil.copy)(source, damaged)
    files = sorted(path for path in damaged.rglob("*") if path.is_file()) if source.is_dir() else [damaged]
    file = files[seed % len(files)]
    file.write_bytes(damaged_bytes(file.read_bytes(), seed))
    try:
        run = open_run(damaged)
        report = judge(damaged, min=0.01, direction="higher_is_better")
    except NelActionError:
        return
    for task in report.tasks:
        if task.verdict is Verdict.PASS:
            (result,) = run.of_task(task.task)
            items = run.items(result, str(task.metric))
            if items is None:
                assert task.stderr is not None
            else:
                assert task.score == pytest.approx(float(items.values.mean()), abs=1e-3)
                assert task.n == len(items)


def test_reports_of_tests_next_to_other_results_are_not_read(tmp_path: Path) -> None:
    shutil.copytree(RECORDED / "lm_eval_without_samples", tmp_path / "run")
    shutil.copy(RECORDED / "junit_pytest.xml", tmp_path / "run" / "junit.xml")
    assert set(results(tmp_path / "run")) == {"t_mc"}
