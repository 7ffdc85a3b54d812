"""A change does not write its own exam."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from nel_action.github.policy_source import select_rules
from nel_action.spec.model import Spec


def spec(gate: dict[str, Any] | None, *tasks: str, limit: int = 400) -> Spec:
    listed = [{"name": name, "params": {"limit_samples": limit}} for name in tasks]
    return Spec.model_validate_json(json.dumps({"evaluation": {"tasks": listed}} | ({"gate": gate} if gate else {})))


HERE = Path()
STRICT = {"tasks": {"gsm8k": {"max_drop": 0.03}}}
LAX = {"tasks": {"gsm8k": {"max_drop": 0.5}}}


def test_the_bases_rules_are_applied_and_the_changes_named() -> None:
    rules = select_rules(spec(LAX, "gsm8k"), spec(STRICT, "gsm8k"), base_name="main", folder=HERE)
    assert rules.policy == spec(STRICT, "gsm8k").gate
    assert rules.notes == (
        "this change edits its own gate; the rules of main were applied",
        "gate.tasks.gsm8k.max_drop: 0.03 → 0.5",
    )


def test_a_gate_that_the_change_removes_still_holds() -> None:
    rules = select_rules(spec(None, "gsm8k"), spec(STRICT, "gsm8k"), base_name="main", folder=HERE)
    assert rules.policy == spec(STRICT, "gsm8k").gate
    assert any("not set" in note for note in rules.notes)


def test_a_task_that_the_change_no_longer_runs_is_still_expected() -> None:
    rules = select_rules(spec(STRICT, "ifeval"), spec(STRICT, "gsm8k", "ifeval"), base_name="main", folder=HERE)
    assert rules.expected == ("ifeval", "gsm8k")
    assert any("no longer runs gsm8k" in note for note in rules.notes)


def test_fewer_items_are_named() -> None:
    rules = select_rules(spec(STRICT, "gsm8k", limit=3), spec(STRICT, "gsm8k"), base_name="main", folder=HERE)
    assert any("evaluation.tasks.gsm8k.params.limit_samples: 400 → 3" in note for note in rules.notes)


def test_no_change_has_no_notes() -> None:
    assert select_rules(spec(STRICT, "gsm8k"), spec(STRICT, "gsm8k"), base_name="main", folder=HERE).notes == ()


def test_a_first_spec_brings_its_own_rules_and_says_so() -> None:
    rules = select_rules(spec(LAX, "gsm8k"), None, base_name="main", folder=HERE)
    assert rules.policy == spec(LAX, "gsm8k").gate
    assert "main has no such spec yet" in rules.notes[0]


def test_where_nothing_is_merged_the_own_rules_hold() -> None:
    rules = select_rules(spec(LAX, "gsm8k"), None, base_name=None, folder=HERE)
    assert (rules.policy, rules.notes) == (spec(LAX, "gsm8k").gate, ())


def test_very_many_changes_are_counted() -> None:
    many = {"tasks": {f"t{number}": {"min": 0.5} for number in range(30)}}
    notes = select_rules(spec(many, "a"), spec({"tasks": {}}, "a"), base_name="main", folder=HERE).notes
    assert len(notes) == 22
    assert notes[-1] == "and 10 more changes"
