"""Result files of other programs in `nel-action gate`: recorded ones, and bundles as nemo-evaluator 0.3 writes them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.support.bundles import bundle
from tests.support.gate_results import make_results, make_run, make_task

from nel_action.cli.gate import gate
from nel_action.errors import NotFoundError, ResultsError
from nel_action.formats.parsing import find_files, recorded_task
from nel_action.gating.external import open_run
from nel_action.harnesses import registry
from nel_action.harnesses.interface import Binding, Command, DetectedResult, Harness, ParsedResult
from nel_action.harnesses.registry import harness
from nel_action.model.results import Score, write_results
from nel_action.model.task import HarnessTask

RECORDED = Path(__file__).parent.parent / "harnesses" / "recorded"


def run_gate(*runs: Path, policy: str, folder: Path, output: str = "json") -> Result:
    file = folder / "policy.yaml"
    file.write_text(policy)
    return CliRunner().invoke(gate, [*map(str, runs), "--policy", str(file), "--format", output])


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("lm_eval_sums_add", "sums_add"),
        ("lm_eval_sums", "sums"),
        ("inspect_sums_add", "sums_add"),
        ("nemo_sums_add", "sums_add"),
    ],
)
def test_gate_pairs_the_files_of_a_harness_with_themselves(tmp_path: Path, folder: str, name: str) -> None:
    run = RECORDED / folder
    policy = f"tasks: {{{name}: {{max_drop: 0.6, direction: higher_is_better}}}}"
    outcome = run_gate(run, run, policy=policy, folder=tmp_path)
    report = json.loads(outcome.output)
    assert outcome.exit_code == 0, outcome.output
    assert report["tasks"][0]["comparison"]["n_paired"] == report["tasks"][0]["n"]
    assert report["tasks"][0]["comparison"]["n_worse"] == 0


def test_gate_counts_lm_eval_items_that_became_worse(tmp_path: Path) -> None:
    worse = tmp_path / "worse"
    shutil.copytree(RECORDED / "lm_eval_sums_add", worse)
    samples, table = next(worse.glob("samples_*.jsonl")), next(worse.glob("results_*.json"))
    lines = [json.loads(line) for line in samples.read_text().splitlines()]
    for line in lines:
        line["exact_match"] = 0.0
    samples.write_text("".join(json.dumps(line) + "\n" for line in lines))
    data = json.loads(table.read_text())
    table_of = data["results"]["sums_add"]
    table_of |= {key: 0.0 for key in table_of if key.startswith("exact_match")}
    table.write_text(json.dumps(data))
    outcome = run_gate(
        RECORDED / "lm_eval_sums_add", worse, policy="tasks: {sums_add: {max_drop: 0.1}}", folder=tmp_path
    )
    assert outcome.exit_code == 1, outcome.output
    assert json.loads(outcome.output)["tasks"][0]["comparison"]["n_worse"] == 6


POLICY = "tasks: {gsm8k: {max_drop: 0.05}}"


def test_gate_pairs_bundles(tmp_path: Path) -> None:
    before = bundle(tmp_path / "a", [1.0] * 160 + [0.0] * 40)
    after = bundle(tmp_path / "b", [0.0] * 40 + [1.0] * 120 + [0.0] * 40)
    outcome = run_gate(before, after, policy=POLICY, folder=tmp_path)
    assert outcome.exit_code == 1, outcome.output
    compared = json.loads(outcome.output)["tasks"][0]["comparison"]
    assert (compared["n_paired"], compared["n_worse"]) == (200, 40)
    assert run_gate(before, before, policy=POLICY, folder=tmp_path).exit_code == 0


def test_gate_averages_repeats_of_bundles_in_subdirectories(tmp_path: Path) -> None:
    rewards = [1.0] * 300 + [0.0] * 100
    bundle(tmp_path / "a" / "gsm8k", rewards, repeats=2)
    bundle(tmp_path / "a" / "mmlu", rewards, name="mmlu")
    outcome = run_gate(tmp_path / "a", tmp_path / "a", policy="defaults: {max_drop: 0.05}", folder=tmp_path)
    assert outcome.exit_code == 0, outcome.output
    assert [task["n"] for task in json.loads(outcome.output)["tasks"]] == [200, 400]


@pytest.mark.parametrize("name", ["results.yml", "results.yaml"])
def test_catalogued_task_of_the_container_contract_needs_no_direction(tmp_path: Path, name: str) -> None:
    run = tmp_path / "run"
    shutil.copytree(RECORDED / "nemo_sums_add", run)
    text = (run / "results.yml").read_text().replace("type: sums_add", "type: ifeval")
    text = text.replace("accuracy:", "prompt_level_strict_acc:")
    (run / "results.yml").unlink()
    (run / name).write_text(text)
    outcome = run_gate(run, run, policy="tasks: {ifeval: {max_drop: 0.6}}", folder=tmp_path)
    assert outcome.exit_code == 0, outcome.output
    assert json.loads(outcome.output)["tasks"][0]["higher_is_better"] is True


def test_a_bundle_whose_score_contradicts_its_rewards_is_unmeasurable(tmp_path: Path) -> None:
    run = bundle(tmp_path / "a", [1.0] * 160 + [0.0] * 40)
    records = run / "results.jsonl"
    records.write_text(records.read_text().replace('"reward": 1.0', '"reward": 0.0'))
    outcome = run_gate(run, policy="tasks: {gsm8k: {min: 0.5}}", folder=tmp_path)
    assert outcome.exit_code == 3
    assert "pass@1 is 0.8, but 0 over its 200 items" in outcome.output


def test_a_bundle_with_unequal_repeats_is_not_a_contradiction(tmp_path: Path) -> None:
    run = bundle(tmp_path / "a", [1.0] * 150 + [0.0] * 50)
    records = run / "results.jsonl"
    lines = [json.loads(line) for line in records.read_text().splitlines()]
    lines += [{**line, "repeat": 1} for line in lines[:100]]
    records.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (file,) = run.glob("eval-*.json")
    document = json.loads(file.read_text())
    document["benchmark"]["scores"]["pass@1"]["value"] = round(250 / 300, 4)
    file.write_text(json.dumps(document))
    outcome = run_gate(run, policy="tasks: {gsm8k: {min: 0.5}}", folder=tmp_path)
    assert outcome.exit_code != 3, outcome.output


def test_a_bundle_with_fewer_items_is_unmeasurable(tmp_path: Path) -> None:
    before, after = bundle(tmp_path / "a", [1.0] * 198), bundle(tmp_path / "b", [1.0] * 20)
    assert run_gate(before, after, policy=POLICY, folder=tmp_path).exit_code == 3


def test_a_limit_of_one_bundle_is_reported(tmp_path: Path) -> None:
    before, after = bundle(tmp_path / "a", [1.0] * 50, max_problems=50), bundle(tmp_path / "b", [1.0] * 50)
    outcome = run_gate(before, after, policy=POLICY, folder=tmp_path)
    assert outcome.exit_code == 3
    assert "limit_samples differs" in outcome.output


@pytest.mark.parametrize(
    "damage",
    [
        lambda row: row.pop("reward"),
        lambda row: row.update(reward="N/A"),
        lambda row: row.update(reward=float("nan")),
        lambda row: row.pop("problem_idx"),
        lambda row: row.update(problem_idx=1.5),
        lambda row: row.update(problem_idx=1),
    ],
)
def test_an_invalid_answer_makes_a_bundle_unmeasurable(
    tmp_path: Path, damage: Callable[[dict[str, object]], object]
) -> None:
    before, after = bundle(tmp_path / "a", [1.0] * 50), bundle(tmp_path / "b", [1.0] * 50)
    rows = [json.loads(line) for line in (after / "results.jsonl").read_text().splitlines()]
    damage(rows[7])
    (after / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert run_gate(before, after, policy=POLICY, folder=tmp_path).exit_code == 3


def test_several_bundles_with_one_file_of_answers_are_unmeasurable(tmp_path: Path) -> None:
    bundle(tmp_path / "a", [1.0] * 50)
    other = bundle(tmp_path / "b", [1.0] * 50, name="mmlu")
    shutil.copy(next(other.glob("eval-*.json")), tmp_path / "a")
    outcome = run_gate(tmp_path / "a", tmp_path / "a", policy=POLICY, folder=tmp_path)
    assert outcome.exit_code == 3
    assert "several bundles" in outcome.output


def test_a_task_that_only_the_baseline_has_is_unmeasurable(tmp_path: Path) -> None:
    bundle(tmp_path / "a" / "gsm8k", [1.0] * 50)
    bundle(tmp_path / "a" / "mmlu", [1.0] * 50, name="mmlu")
    bundle(tmp_path / "b" / "gsm8k", [1.0] * 50)
    outcome = run_gate(tmp_path / "a", tmp_path / "b", policy="defaults: {max_drop: 0.2}", folder=tmp_path)
    assert outcome.exit_code == 3
    assert "mmlu: there is no result" in outcome.output


def own_run(root: Path, items: list[float]) -> Path:
    run = make_run(root, items)
    write_results(run.results, root / "results.json")
    return root


def test_gate_prints_own_run_directories_as_text_and_markdown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    before = own_run(tmp_path / "a", [1.0] * 160 + [0.0] * 40)
    after = own_run(tmp_path / "b", [0.0] * 40 + [1.0] * 120 + [0.0] * 40)
    text = run_gate(before, after, policy=POLICY, folder=tmp_path, output="text")
    assert text.exit_code == 1
    assert "fail: fell 20 pp, more than the allowed 5 pp" in text.output
    assert "40 items got worse, 0 better; worse: 0, 1, 2, 3, 4, …" in text.output
    assert f"fail (exit 1) against {before}" in text.output
    markdown = run_gate(before, after / "results.json", policy=POLICY, folder=tmp_path, output="markdown")
    assert markdown.exit_code == 1
    assert "fell 20 pp" in markdown.output


def test_gate_without_baseline_uses_thresholds_and_the_baseline_of_the_policy(tmp_path: Path) -> None:
    before, after = own_run(tmp_path / "a", [1.0] * 200), own_run(tmp_path / "b", [1.0] * 100 + [0.0] * 100)
    assert run_gate(after, policy="tasks: {gsm8k: {min: 0.9}}", folder=tmp_path).exit_code == 1
    assert run_gate(before, policy="tasks: {gsm8k: {min: 0.9}}", folder=tmp_path).exit_code == 0
    policy = "baseline: a\ntasks: {gsm8k: {max_drop: 0.1}}"
    assert run_gate(after, policy=policy, folder=tmp_path).exit_code == 1


def test_gate_escapes_control_characters_and_workflow_commands(tmp_path: Path) -> None:
    hostile = make_results(make_task("a\x1b[2J", model="m\r\n::error::x"))
    write_results(hostile, tmp_path / "results.json")
    outcome = CliRunner().invoke(gate, [str(tmp_path)])
    assert "\x1b" not in outcome.output
    assert not any(line.startswith("::") for line in outcome.output.splitlines())


def test_open_run_rejects_missing_unknown_and_truncated_files(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="does not exist"):
        open_run(tmp_path / "none")
    with pytest.raises(ResultsError, match="no results in"):
        open_run(tmp_path)
    (tmp_path / "x.eval").write_bytes(b"PK")
    with pytest.raises(ResultsError, match="not a complete inspect log"):
        open_run(tmp_path)


def test_load_policy_reports_problems_with_their_locations(tmp_path: Path) -> None:
    from nel_action.errors import SpecError
    from nel_action.gating.policy import load_policy

    path = tmp_path / "policy.yaml"
    path.write_text("tasks:\n  gsm8k: {max_dorp: 0.1}\nconfidence: 3\n")
    with pytest.raises(SpecError) as raised:
        load_policy(path)
    assert [str(problem.location).rpartition("/")[2] for problem in raised.value.problems] == [
        "policy.yaml:2:11",
        "policy.yaml:3:1",
    ]
    with pytest.raises(SpecError):
        load_policy(tmp_path / "none.yaml")


def test_gate_rejects_three_runs(tmp_path: Path) -> None:
    outcome = CliRunner().invoke(gate, [str(tmp_path)] * 3)
    assert outcome.exit_code == 2


def recorded_invocation(home: Path, root: Path, name: str, identity: str, items: list[float]) -> Path:
    """Write a run directory and record it in the ledger."""
    from nel_action.ledger import InvocationRow, Ledger

    run = own_run(root / f"2026-11-22-10-30-45-{identity}", items)
    (run / "invocation.json").write_text("{}")
    ledger = Ledger(home)
    ledger.add(InvocationRow(id=identity, created=name, run_dir=run, spec="spec.yaml", executor="local"))
    ledger.close()
    return run


def test_gate_accepts_prefixes_of_invocation_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("NEL_ACTION_HOME", str(home))
    good = [1.0] * 160 + [0.0] * 40
    before = recorded_invocation(home, tmp_path / "runs", "2026-11-22T10:00:00Z", "4f1c9a20aaaaaaaa", good)
    recorded_invocation(
        home, tmp_path / "runs", "2026-11-22T11:00:00Z", "4f1caaaabbbbbbbb", [0.0] * 40 + [1.0] * 120 + [0.0] * 40
    )
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY)

    def invoke(*names: str) -> Result:
        return CliRunner().invoke(gate, [*names, "--policy", str(file)])

    assert invoke("4f1c9a", "4f1caa").exit_code == 1
    assert invoke(str(before), "4f1caa").exit_code == 1
    assert invoke("4f1caa", "4f1c9a").exit_code == 0
    ambiguous = invoke("4f1c", "4f1caa")
    assert isinstance(ambiguous.exception, NotFoundError)
    assert "several invocations" in str(ambiguous.exception)
    missing = invoke("4f1c9a", "nowhere")
    assert "nowhere does not exist" in str(missing.exception)
    assert isinstance(invoke("no-such-branch", "4f1caa").exception, NotFoundError)


def test_history_judges_a_series_of_runs(tmp_path: Path) -> None:
    from nel_action.cli.history import history

    names = []
    for index in range(7):
        worse = 0 if index < 3 else 50
        names.append(str(own_run(tmp_path / str(index), [0.0] * worse + [1.0] * (160 - worse) + [0.0] * 40)))
    file = tmp_path / "policy.yaml"
    file.write_text("tasks: {gsm8k: {max_drop: 0.02}}")
    outcome = CliRunner().invoke(history, [*names, "-p", str(file)], standalone_mode=False)
    assert "gsm8k: regressed (6 runs judged together; max_drop 2 pp: e-value" in outcome.output
    assert outcome.return_value == 1
    stable = CliRunner().invoke(history, [*names[:3], "-p", str(file), "--json"], standalone_mode=False)
    assert stable.return_value == 0
    assert json.loads(stable.output)[0]["state"] == "no_regression"
    single = CliRunner().invoke(history, [names[0], "-p", str(file)], standalone_mode=False)
    assert "at least two runs" in str(single.exception)
    with_baseline = CliRunner().invoke(
        history, [*names[3:], "-p", str(file), "--baseline", names[0]], standalone_mode=False
    )
    assert with_baseline.return_value == 1


def test_history_that_could_not_be_judged_exits_with_3(tmp_path: Path) -> None:
    """Runs without a score, vanished tasks and an unknown direction were reported as no regression."""
    from nel_action.cli.history import history

    items = [1.0] * 160 + [0.0] * 40
    names = [str(own_run(tmp_path / str(index), items)) for index in range(3)]
    other = make_run(tmp_path / "other", items, name="ifeval")
    write_results(other.results, tmp_path / "other" / "results.json")
    file = tmp_path / "policy.yaml"

    def invoke(*runs: str, limits: str = "max_drop: 0.1") -> Result:
        file.write_text(f"defaults: {{{limits}}}")
        return CliRunner().invoke(history, [*runs, "-p", str(file)], standalone_mode=False)

    assert invoke(*names).return_value == 0
    vanished = invoke(*names, str(tmp_path / "other"))
    assert vanished.return_value == 3
    assert "gsm8k on acme-7b: unmeasurable (the last run does not have it)" in vanished.output
    missing = invoke(*names, limits="max_drop: 0.1, metric: f1")
    assert missing.return_value == 3
    assert "gsm8k: unmeasurable" in missing.output
    assert "3 of 3 runs could not be measured" in missing.output


def test_open_run_reads_several_tasks_of_a_directory_or_one_file(tmp_path: Path) -> None:
    for name in ("lm_eval_sums_add", "lm_eval_sums_sub"):
        shutil.copytree(RECORDED / name, tmp_path / "run", dirs_exist_ok=True)
    both = open_run(tmp_path / "run")
    assert {task.task for task in both.results.tasks} == {"sums_add", "sums_sub"}
    assert all(task.reason is None and task.n_items for task in both.results.tasks)
    file = next((RECORDED / "lm_eval_sums_add").glob("results_*.json"))
    (result,) = open_run(tmp_path / "run" / file.name).results.tasks
    assert (result.task, result.reason) == ("sums_add", None)
    later = tmp_path / "run" / "results_2027-01-01T00-00-00.000000.json"
    shutil.copy(file, later)
    with pytest.raises(ResultsError, match="several results of sums_add"):
        open_run(tmp_path / "run")


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[" * 200_000, b'{"invocation": 1}', b'{"results": 7}', b"null", b"\xff\xfe", b'"\\ud800"']
)
@pytest.mark.parametrize("name", ["results.json", "results_x.json", "eval-x.json", "x.json", "results.yml", "x.eval"])
def test_gate_reports_malformed_files_without_a_traceback(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    outcome = CliRunner().invoke(gate, [str(tmp_path)])
    assert outcome.exit_code != 0
    assert isinstance(outcome.exception, ResultsError | NotFoundError | SystemExit), repr(outcome.exception)
    if isinstance(outcome.exception, SystemExit):
        assert outcome.exit_code == 3, outcome.output


class Plugin(Harness):
    """A harness that does not implement `detect`."""

    name = "plugin"

    def command(self, task: HarnessTask, binding: Binding) -> Command:
        raise NotImplementedError

    def read(self, task: HarnessTask, artifacts: Path) -> ParsedResult:  # noqa: ARG002
        return ParsedResult(scores=(Score(metric="accuracy", value=0.5, n=2),), primary_metric="accuracy", n_items=2)


class DetectingPlugin(Plugin):
    """Detects files named `x.json`."""

    def detect(self, path: Path) -> list[DetectedResult]:
        return [DetectedResult(task=recorded_task(file.stem), artifacts=file) for file in find_files(path, ["x.json"])]


def install(monkeypatch: pytest.MonkeyPatch, plugin: Harness) -> None:
    monkeypatch.setattr(registry, "plugin_names", lambda: ("plugin",))
    monkeypatch.setattr(registry, "harness", lambda name: plugin if name == "plugin" else harness(name))


def test_open_run_ignores_a_plugin_without_detect(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, Plugin())
    with pytest.raises(ResultsError, match="no results in"):
        open_run(tmp_path)


def test_open_run_reads_files_that_a_plugin_detects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(monkeypatch, DetectingPlugin())
    (tmp_path / "x.json").write_text("{}")
    run = open_run(tmp_path)
    (result,) = run.results.tasks
    assert (result.task, result.harness, result.n_items) == ("x", "plugin", 2)
    assert run.items(result, "accuracy") is None


def test_open_run_asks_plugins_about_files_that_are_damaged_for_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x.json").write_text('{"a": 1}\n{"a": 2}\n')
    with pytest.raises(ResultsError, match="is not valid JSON"):
        open_run(tmp_path)
    install(monkeypatch, DetectingPlugin())
    assert open_run(tmp_path).results.tasks[0].harness == "plugin"


@pytest.mark.parametrize(("missing", "code"), [(0, 3), (7, 3), (None, 0)])
def test_a_bundle_needs_a_value_of_a_scorer_for_every_answer(tmp_path: Path, missing: int | None, code: int) -> None:
    run = bundle(tmp_path / "a", [1.0] * 200)
    (document,) = run.glob("eval-*.json")
    data = json.loads(document.read_text())
    data["benchmark"]["scores"] = {"scorer:exact": {"value": 1.0}}
    document.write_text(json.dumps(data))
    rows = [json.loads(line) for line in (run / "results.jsonl").read_text().splitlines()]
    for index, row in enumerate(rows):
        row["scoring_details"] = {} if index == missing else {"scorer:exact": {"correct": True}}
    (run / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    policy = "tasks: {gsm8k: {metric: 'scorer:exact', max_drop: 0.05}}"
    assert run_gate(run, run, policy=policy, folder=tmp_path).exit_code == code
