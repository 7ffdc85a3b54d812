"""Policy and required tasks: those of the base for a pull request, modified by the inputs `gate` and `baseline`."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.github.conftest import MakeContext

from nel_action.driver.surroundings import Rules
from nel_action.errors import NelActionError, SpecError
from nel_action.github.benchmark_changes import select_rules
from nel_action.github.context import ActionContext
from nel_action.github.event import EventKind
from nel_action.github.policy_source import (
    dump_rules,
    load_spec_from_inputs,
    parse_rules,
    resolve_rules,
)
from nel_action.spec.model import Spec

SPEC = """\
execution: {type: local}
target: {api_endpoint: {model_id: m, url: 'http://127.0.0.1:9/v1/chat/completions'}}
evaluation: {tasks: [{name: ifeval}]}
gate: {baseline: main, tasks: {ifeval: {min: %s}}}
"""


ON_DEFAULT_BRANCH = {
    "kind": EventKind.PUSH,
    "base_ref": None,
    "base_sha": None,
    "pull_request": None,
    "ref": "refs/heads/main",
    "default_branch": "main",
}


def git(work: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *identity, "-C", str(work), *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def commits(make_context: MakeContext) -> tuple[Path, str]:
    """Return a checkout whose base requires 0.7 and whose head requires 0.1, and the base's commit."""
    work = make_context().root
    (work / "evals/policies").mkdir(parents=True)
    git(work, "init", "-q", "-b", "main")
    (work / "evals/gate.yaml").write_text(SPEC % 0.7)
    (work / "evals/policies/scheduled.yaml").write_text("gate: {tasks: {ifeval: {min: 0.6}}}\n")
    git(work, "add", ".")
    git(work, "commit", "-qm", "base")
    base = git(work, "rev-parse", "HEAD")
    (work / "evals/gate.yaml").write_text(SPEC % 0.1)
    (work / "evals/policies/scheduled.yaml").write_text("tasks: {ifeval: {min: 0.2}}\n")
    return work, base


def rules_of(context: ActionContext) -> Rules:
    return resolve_rules(context, load_spec_from_inputs(context))


def limit_of(rules: Rules) -> float | None:
    assert rules.policy is not None
    return rules.policy.tasks["ifeval"].min


@pytest.fixture
def make(commits: tuple[Path, str], make_context: MakeContext, monkeypatch: pytest.MonkeyPatch) -> MakeContext:
    """Return a factory of contexts for a pull request in that checkout."""
    work, base = commits
    monkeypatch.chdir(work)

    def make_in_checkout(**inputs: Any) -> ActionContext:  # noqa: ANN401 - inputs, and `event`
        event = {"base_sha": base} | inputs.pop("event", {})
        return make_context(event=event, **{"spec": "evals/gate.yaml"} | inputs)

    return make_in_checkout


def test_pull_request_has_rules_of_base_and_notes_on_differences(make: MakeContext) -> None:
    rules = rules_of(make())
    assert limit_of(rules) == 0.7
    assert any("0.7 → 0.1" in note for note in rules.notes)


def test_rules_of_spec_apply_on_default_branch(make: MakeContext) -> None:
    assert limit_of(rules_of(make(event=ON_DEFAULT_BRANCH))) == 0.1


def test_policy_file_is_read_from_base(make: MakeContext) -> None:
    assert limit_of(rules_of(make(gate="evals/policies/scheduled.yaml"))) == 0.6


@pytest.mark.parametrize(
    ("text", "message"),
    [("tasks: [", "not valid YAML"), ("tasks: {ifeval: {mni: 1}}", "mni"), ("- 1\n- 2\n", "policy"), ("x: .nan", "x")],
)
def test_invalid_policy_file_is_reported(make: MakeContext, text: str, message: str) -> None:
    Path("evals/policies/new.yaml").write_text(text)
    with pytest.raises(SpecError, match=message):
        rules_of(make(gate="evals/policies/new.yaml", event=ON_DEFAULT_BRANCH))


def test_missing_policy_file_is_reported(make: MakeContext) -> None:
    with pytest.raises(SpecError, match=r"no policy at nope\.yaml"):
        rules_of(make(gate="evals/policies/nope.yaml", event=ON_DEFAULT_BRANCH))


def test_gate_false_removes_the_policy(make: MakeContext) -> None:
    assert rules_of(make(gate="false")).policy is None


def test_baseline_input_overrides_the_policy(make: MakeContext) -> None:
    rules = rules_of(make(baseline="release"))
    assert rules.policy is not None
    assert rules.policy.baseline == "release"
    assert limit_of(rules) == 0.7


def test_unreadable_base_is_an_error(make: MakeContext) -> None:
    with pytest.raises(NelActionError):
        rules_of(make(event={"base_sha": "d" * 40}))


def test_rules_survive_serialisation(make: MakeContext, tmp_path: Path) -> None:
    rules = rules_of(make())
    rules = replace(rules, others=(replace(rules, unmeasurable="no rules", base="release abc"),))
    parsed = parse_rules(json.loads(json.dumps(dump_rules(rules))), lambda _rules: tmp_path)
    assert dump_rules(parsed) == dump_rules(rules)
    assert {each.folder for each in parsed.all} == {tmp_path}
    assert parse_rules(dump_rules(rules_of(make(gate="false"))), lambda _rules: tmp_path).policy is None


@pytest.mark.parametrize("data", [{"policy": None}, {"policy": {"tasks": 3}, "expected": [], "notes": []}])
def test_parse_rules_refuses_incomplete_data(tmp_path: Path, data: dict[str, Any]) -> None:
    with pytest.raises((ValueError, KeyError)):
        parse_rules(data, lambda _rules: tmp_path)


def make_spec(gate: dict[str, Any] | None, *names: str, limit: int = 400) -> Spec:
    tasks = [{"name": name, "params": {"limit_samples": limit}} for name in names]
    return Spec.model_validate_json(json.dumps({"evaluation": {"tasks": tasks}} | ({"gate": gate} if gate else {})))


HERE = Path()
STRICT = {"tasks": {"gsm8k": {"max_drop": 0.03}}}
LAX = {"tasks": {"gsm8k": {"max_drop": 0.5}}}


def test_select_rules_takes_policy_of_base_and_notes_differences() -> None:
    rules = select_rules(make_spec(LAX, "gsm8k"), make_spec(STRICT, "gsm8k"), base_name="main", folder=HERE)
    assert rules.policy == make_spec(STRICT, "gsm8k").gate
    assert rules.notes == (
        "this change edits its own gate; the policy of main was applied",
        "gate.tasks.gsm8k.max_drop: 0.03 → 0.5",
    )


def test_select_rules_keeps_policy_that_the_change_removes() -> None:
    rules = select_rules(make_spec(None, "gsm8k"), make_spec(STRICT, "gsm8k"), base_name="main", folder=HERE)
    assert rules.policy == make_spec(STRICT, "gsm8k").gate
    assert any("not set" in note for note in rules.notes)


def test_select_rules_requires_task_that_the_change_removes() -> None:
    rules = select_rules(
        make_spec(STRICT, "ifeval"), make_spec(STRICT, "gsm8k", "ifeval"), base_name="main", folder=HERE
    )
    assert rules.expected == ("ifeval", "gsm8k")
    assert any("no longer runs gsm8k" in note for note in rules.notes)


def test_select_rules_notes_changed_parameters() -> None:
    rules = select_rules(make_spec(STRICT, "gsm8k", limit=3), make_spec(STRICT, "gsm8k"), base_name="main", folder=HERE)
    assert any("evaluation.tasks.gsm8k.params.limit_samples: 400 → 3" in note for note in rules.notes)


def test_select_rules_without_differences_has_no_notes() -> None:
    assert (
        select_rules(make_spec(STRICT, "gsm8k"), make_spec(STRICT, "gsm8k"), base_name="main", folder=HERE).notes == ()
    )


def test_select_rules_lists_all_differences_in_full() -> None:
    many = {"tasks": {f"t{number}": {"min": 0.5} for number in range(30)}}
    notes = select_rules(make_spec(many, "a"), make_spec({"tasks": {}}, "a"), base_name="main", folder=HERE).notes
    assert len(notes) == 31
    assert all(f"gate.tasks.t{number}.min: not set → 0.5" in notes for number in range(30))
