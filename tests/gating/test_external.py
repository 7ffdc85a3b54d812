"""Other programs' files, judged as they are: real ones of our harnesses, and bundles in nemo-evaluator 0.3's shape."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.support.gate_results import results, saved, task

from nel_action.cli.gate import gate
from nel_action.errors import NotFoundError, ResultsError
from nel_action.gating.external import open_run
from nel_action.model.results import write_results

RECORDED = Path(__file__).parent.parent / "harnesses" / "recorded"


def judged(*runs: Path, policy: str, folder: Path, form: str = "json") -> Result:
    file = folder / "policy.yaml"
    file.write_text(policy)
    return CliRunner().invoke(gate, [*map(str, runs), "--policy", str(file), "--format", form])


@pytest.mark.parametrize(
    ("folder", "name"),
    [
        ("lm_eval_sums_add", "sums_add"),
        ("lm_eval_sums", "sums"),
        ("inspect_sums_add", "sums_add"),
        ("nemo_sums_add", "sums_add"),
    ],
)
def test_what_a_real_harness_left_pairs_with_itself(tmp_path: Path, folder: str, name: str) -> None:
    run = RECORDED / folder
    policy = f"tasks: {{{name}: {{max_drop: 0.6, direction: higher_is_better}}}}"
    done = judged(run, run, policy=policy, folder=tmp_path)
    report = json.loads(done.output)
    assert done.exit_code == 0, done.output
    assert report["tasks"][0]["comparison"]["n_paired"] == report["tasks"][0]["n"]
    assert report["tasks"][0]["comparison"]["n_worse"] == 0


def test_lm_eval_items_that_flip_are_found(tmp_path: Path) -> None:
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
    done = judged(RECORDED / "lm_eval_sums_add", worse, policy="tasks: {sums_add: {max_drop: 0.1}}", folder=tmp_path)
    assert done.exit_code == 1, done.output
    assert json.loads(done.output)["tasks"][0]["comparison"]["n_worse"] == 6


def bundle(folder: Path, rewards: list[float], *, name: str = "gsm8k", repeats: int = 1, **config: object) -> Path:
    """Write a bundle as nemo-evaluator 0.3 does."""
    folder.mkdir(parents=True)
    binary = all(reward in (0.0, 1.0) for reward in rewards)
    metric = "pass@1" if binary else "mean_reward"
    entry = {"value": round(sum(rewards) / len(rewards), 4), "ci_lower": 0.1, "ci_upper": 0.9}
    samples = len(rewards) // repeats
    document = {
        "run_id": f"eval-20261122T000000Z-{name}",
        "sdk_version": "0.3.0",
        "config": {"model": "acme-7b", "max_problems": None, **config},
        "benchmark": {"name": name, "samples": samples, "repeats": repeats, "scores": {metric: entry, "summary": {}}},
        "n_results": len(rewards),
    }
    (folder / f"eval-20261122T000000Z-{name}.json").write_text(json.dumps(document))
    rows = [
        {"problem_idx": place % samples, "repeat": place // samples, "reward": reward, "prompt": f"q{place % samples}"}
        for place, reward in enumerate(rewards)
    ]
    (folder / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder


POLICY = "tasks: {gsm8k: {max_drop: 0.05}}"


def test_bundles_are_paired(tmp_path: Path) -> None:
    before = bundle(tmp_path / "a", [1.0] * 160 + [0.0] * 40)
    after = bundle(tmp_path / "b", [0.0] * 40 + [1.0] * 120 + [0.0] * 40)
    done = judged(before, after, policy=POLICY, folder=tmp_path)
    assert done.exit_code == 1, done.output
    compared = json.loads(done.output)["tasks"][0]["comparison"]
    assert (compared["n_paired"], compared["n_worse"]) == (200, 40)
    assert judged(before, before, policy=POLICY, folder=tmp_path).exit_code == 0


def test_bundles_average_repeats_and_lie_in_folders_of_their_own(tmp_path: Path) -> None:
    rewards = [1.0] * 300 + [0.0] * 100
    bundle(tmp_path / "a" / "gsm8k", rewards, repeats=2)
    bundle(tmp_path / "a" / "mmlu", rewards, name="mmlu")
    done = judged(tmp_path / "a", tmp_path / "a", policy="defaults: {max_drop: 0.05}", folder=tmp_path)
    assert done.exit_code == 0, done.output
    assert [one["n"] for one in json.loads(done.output)["tasks"]] == [200, 400]


def test_a_bundle_with_fewer_items_is_unmeasurable(tmp_path: Path) -> None:
    before, after = bundle(tmp_path / "a", [1.0] * 198), bundle(tmp_path / "b", [1.0] * 20)
    assert judged(before, after, policy=POLICY, folder=tmp_path).exit_code == 3


def test_a_limit_that_was_left_on_is_named(tmp_path: Path) -> None:
    before, after = bundle(tmp_path / "a", [1.0] * 50, max_problems=50), bundle(tmp_path / "b", [1.0] * 50)
    done = judged(before, after, policy=POLICY, folder=tmp_path)
    assert done.exit_code == 3
    assert "limit_samples differs" in done.output


@pytest.mark.parametrize(
    "spoil",
    [
        lambda row: row.pop("reward"),
        lambda row: row.update(reward="N/A"),
        lambda row: row.update(reward=float("nan")),
        lambda row: row.pop("problem_idx"),
        lambda row: row.update(problem_idx=1.5),
        lambda row: row.update(problem_idx=1),
    ],
)
def test_a_spoilt_answer_makes_a_bundle_unmeasurable(
    tmp_path: Path, spoil: Callable[[dict[str, object]], object]
) -> None:
    before, after = bundle(tmp_path / "a", [1.0] * 50), bundle(tmp_path / "b", [1.0] * 50)
    rows = [json.loads(line) for line in (after / "results.jsonl").read_text().splitlines()]
    spoil(rows[7])
    (after / "results.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert judged(before, after, policy=POLICY, folder=tmp_path).exit_code == 3


def test_answers_of_two_bundles_in_one_folder_cannot_be_told_apart(tmp_path: Path) -> None:
    bundle(tmp_path / "a", [1.0] * 50)
    other = bundle(tmp_path / "b", [1.0] * 50, name="mmlu")
    shutil.copy(next(other.glob("eval-*.json")), tmp_path / "a")
    done = judged(tmp_path / "a", tmp_path / "a", policy=POLICY, folder=tmp_path)
    assert done.exit_code == 3
    assert "several bundles" in done.output


def test_a_task_that_only_the_baseline_has_does_not_vanish(tmp_path: Path) -> None:
    bundle(tmp_path / "a" / "gsm8k", [1.0] * 50)
    bundle(tmp_path / "a" / "mmlu", [1.0] * 50, name="mmlu")
    bundle(tmp_path / "b" / "gsm8k", [1.0] * 50)
    done = judged(tmp_path / "a", tmp_path / "b", policy="defaults: {max_drop: 0.2}", folder=tmp_path)
    assert done.exit_code == 3
    assert "mmlu: it has no result" in done.output


def ours(root: Path, items: list[float]) -> Path:
    run = saved(root, items)
    write_results(run.results, root / "results.json")
    return root


def test_our_own_run_directories_in_three_formats(tmp_path: Path) -> None:
    before = ours(tmp_path / "a", [1.0] * 160 + [0.0] * 40)
    after = ours(tmp_path / "b", [0.0] * 40 + [1.0] * 120 + [0.0] * 40)
    text = judged(before, after, policy=POLICY, folder=tmp_path, form="text")
    assert text.exit_code == 1
    assert "fail: fell 20 pp, more than the 5 pp allowed" in text.output
    assert "40 items got worse, 0 better; worse: 0, 1, 2, 3, 4, …" in text.output
    assert f"fail (exit 1) against {before}" in text.output
    markdown = judged(before, after / "results.json", policy=POLICY, folder=tmp_path, form="markdown")
    assert markdown.exit_code == 1
    assert "fell 20 pp" in markdown.output


def test_one_run_alone_is_judged_by_its_floors_and_the_policys_baseline(tmp_path: Path) -> None:
    before, after = ours(tmp_path / "a", [1.0] * 200), ours(tmp_path / "b", [1.0] * 100 + [0.0] * 100)
    assert judged(after, policy="tasks: {gsm8k: {min: 0.9}}", folder=tmp_path).exit_code == 1
    assert judged(before, policy="tasks: {gsm8k: {min: 0.9}}", folder=tmp_path).exit_code == 0
    held = "baseline: a\ntasks: {gsm8k: {max_drop: 0.1}}"
    assert judged(after, policy=held, folder=tmp_path).exit_code == 1


def test_text_from_outside_cannot_steer_a_terminal(tmp_path: Path) -> None:
    evil = results(task("a\x1b[2J", model="m\r\n::error::x"))
    write_results(evil, tmp_path / "results.json")
    done = CliRunner().invoke(gate, [str(tmp_path)])
    assert "\x1b" not in done.output
    assert not any(line.startswith("::") for line in done.output.splitlines())


def test_what_is_no_run_is_said(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="does not exist"):
        open_run(tmp_path / "none")
    with pytest.raises(ResultsError, match="no results in"):
        open_run(tmp_path)
    (tmp_path / "x.eval").write_bytes(b"PK")
    with pytest.raises(ResultsError, match="not a complete inspect log"):
        open_run(tmp_path)


def test_a_policy_file_tells_its_mistakes_with_their_places(tmp_path: Path) -> None:
    from nel_action.errors import SpecError
    from nel_action.gating.policy_file import load_policy

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


def test_three_runs_are_too_many(tmp_path: Path) -> None:
    done = CliRunner().invoke(gate, [str(tmp_path)] * 3)
    assert done.exit_code == 2


def entered(home: Path, root: Path, name: str, identity: str, items: list[float]) -> Path:
    """Write a run directory and enter it in the ledger."""
    from nel_action.ledger import InvocationRow, Ledger

    run = ours(root / f"2026-11-22-10-30-45-{identity}", items)
    (run / "invocation.json").write_text("{}")
    ledger = Ledger(home)
    ledger.add(InvocationRow(id=identity, created=name, run_dir=run, spec="spec.yaml", executor="local"))
    ledger.close()
    return run


def test_invocations_are_named_by_the_beginning_of_their_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    monkeypatch.setenv("NEL_ACTION_HOME", str(home))
    good = [1.0] * 160 + [0.0] * 40
    before = entered(home, tmp_path / "runs", "2026-11-22T10:00:00Z", "4f1c9a20aaaaaaaa", good)
    entered(home, tmp_path / "runs", "2026-11-22T11:00:00Z", "4f1caaaabbbbbbbb", [0.0] * 40 + [1.0] * 120 + [0.0] * 40)
    file = tmp_path / "policy.yaml"
    file.write_text(POLICY)

    def asked(*names: str) -> Result:
        return CliRunner().invoke(gate, [*names, "--policy", str(file)])

    assert asked("4f1c9a", "4f1caa").exit_code == 1
    assert asked(str(before), "4f1caa").exit_code == 1
    assert asked("4f1caa", "4f1c9a").exit_code == 0
    several = asked("4f1c", "4f1caa")
    assert isinstance(several.exception, NotFoundError)
    assert "several invocations" in str(several.exception)
    missing = asked("4f1c9a", "nowhere")
    assert "nowhere does not exist" in str(missing.exception)
    assert isinstance(asked("no-such-branch", "4f1caa").exception, NotFoundError)


def test_a_row_of_runs_is_judged_as_one_history(tmp_path: Path) -> None:
    from nel_action.cli.history import history

    names = []
    for night in range(6):
        worse = 0 if night < 3 else 50
        names.append(str(ours(tmp_path / str(night), [0.0] * worse + [1.0] * (160 - worse) + [0.0] * 40)))
    file = tmp_path / "policy.yaml"
    file.write_text("tasks: {gsm8k: {max_drop: 0.02}}")
    done = CliRunner().invoke(history, [*names, "-p", str(file)], standalone_mode=False)
    assert "gsm8k: fallen (5 runs judged together; max_drop 0.02: evidence" in done.output
    assert done.return_value == 1
    calm = CliRunner().invoke(history, [*names[:3], "-p", str(file), "--json"], standalone_mode=False)
    assert calm.return_value == 0
    assert json.loads(calm.output)[0]["fallen"] is False
    alone = CliRunner().invoke(history, [names[0], "-p", str(file)], standalone_mode=False)
    assert "at least two runs" in str(alone.exception)
    held = CliRunner().invoke(history, [*names[3:], "-p", str(file), "--baseline", names[0]], standalone_mode=False)
    assert held.return_value == 1


def test_results_of_several_tasks_lie_in_one_folder_and_one_can_be_named(tmp_path: Path) -> None:
    for name in ("lm_eval_sums_add", "lm_eval_sums_sub"):
        shutil.copytree(RECORDED / name, tmp_path / "run", dirs_exist_ok=True)
    both = open_run(tmp_path / "run")
    assert {one.task for one in both.results.tasks} == {"sums_add", "sums_sub"}
    assert all(one.reason is None and one.n_items for one in both.results.tasks)
    file = next((RECORDED / "lm_eval_sums_add").glob("results_*.json"))
    (one,) = open_run(tmp_path / "run" / file.name).results.tasks
    assert (one.task, one.reason) == ("sums_add", None)
    later = tmp_path / "run" / "results_2027-01-01T00-00-00.000000.json"
    shutil.copy(file, later)
    with pytest.raises(ResultsError, match="several results of sums_add"):
        open_run(tmp_path / "run")


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[" * 200_000, b'{"invocation": 1}', b'{"results": 7}', b"null", b"\xff\xfe", b'"\\ud800"']
)
@pytest.mark.parametrize("name", ["results.json", "results_x.json", "eval-x.json", "x.json", "results.yml", "x.eval"])
def test_junk_is_told_and_never_a_traceback(tmp_path: Path, name: str, data: bytes) -> None:
    (tmp_path / name).write_bytes(data)
    done = CliRunner().invoke(gate, [str(tmp_path)])
    assert done.exit_code != 0
    assert isinstance(done.exception, ResultsError | NotFoundError | SystemExit), repr(done.exception)
    if isinstance(done.exception, SystemExit):
        assert done.exit_code == 3, done.output
