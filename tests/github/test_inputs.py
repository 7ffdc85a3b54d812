"""Parsing of the action's inputs, and which results fail the step."""

from __future__ import annotations

from pathlib import Path

import pytest

from nel_action.errors import ExitCode, SpecError
from nel_action.gating.verdict import Verdict
from nel_action.github.inputs import FailOn, Inputs, Mode, OnCancel, read_inputs
from nel_action.github.sticky import CommentMode

PASS, FAIL, INCONCLUSIVE, UNMEASURABLE = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.UNMEASURABLE


def inputs(**values: str) -> Inputs:
    return read_inputs({"INPUT_SPEC": "a.yaml"} | {f"INPUT_{name.upper()}": value for name, value in values.items()})


def test_missing_inputs_have_defaults() -> None:
    parsed = inputs()
    assert (parsed.spec, parsed.mode, parsed.max_wait, parsed.gate) == (Path("a.yaml"), Mode.RUN, 19_800.0, True)
    assert (parsed.comment, parsed.on_cancel, parsed.check_name) == (
        CommentMode.ALWAYS,
        OnCancel.KEEP,
        "Benchmark gate",
    )
    assert parsed.fail_on == {FailOn.FAIL, FailOn.UNMEASURABLE, FailOn.RUNNING}
    assert (parsed.exporters, parsed.history_branch, parsed.baseline) == (None, None, None)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("45m", 2700), ("5h30m", 19_800), ("1d", 86_400), ("1h30s", 3630)]
)
def test_duration_formats(text: str, seconds: float) -> None:
    assert inputs(max_wait=text).max_wait == seconds


@pytest.mark.parametrize("text", ["soon", "-1", "1.5h", "5 h", "30m5h", "h"])
def test_invalid_duration_is_reported(text: str) -> None:
    with pytest.raises(SpecError, match="5h30m"):
        inputs(max_wait=text)


def test_overrides_are_split_like_a_shell_without_expansion() -> None:
    parsed = inputs(overrides="a.b=1 'c=two words'\nd=$HOME e=`id` #f")
    assert parsed.overrides == ("a.b=1", "c=two words", "d=$HOME", "e=`id`", "#f")


def test_all_problems_are_reported_together() -> None:
    with pytest.raises(SpecError) as caught:
        read_inputs({"INPUT_MODE": "x", "INPUT_COMMENT": "y", "INPUT_FAIL_ON": "z", "INPUT_OVERRIDES": "'"})
    assert len(caught.value.problems) == 5


def test_exactly_one_spec_is_required_except_for_collect() -> None:
    with pytest.raises(SpecError, match="set one of them"):
        inputs(config_name="b")
    assert read_inputs({"INPUT_MODE": "collect"}).spec is None
    assert read_inputs({}, spec_needed=False).spec is None


@pytest.mark.parametrize(("text", "gate"), [("true", True), ("False", False), ("p.yaml", Path("p.yaml"))])
def test_gate_is_a_boolean_or_a_path(text: str, gate: bool | Path) -> None:  # noqa: FBT001
    assert inputs(gate=text).gate == gate


def test_exporters_none_is_an_empty_tuple() -> None:
    assert inputs(exporters="none").exporters == ()
    assert inputs(exporters="wandb, mlflow").exporters == ("wandb", "mlflow")


def test_check_name_off_disables_check() -> None:
    assert inputs(check_name="off").check_name == ""


@pytest.mark.parametrize(
    ("code", "verdict", "fail_on", "fails"),
    [
        (ExitCode.PASS, PASS, "fail,inconclusive,unmeasurable,running", False),
        (ExitCode.FAIL, FAIL, "fail", True),
        (ExitCode.FAIL, FAIL, "never", False),
        (ExitCode.FAIL, INCONCLUSIVE, "fail", True),
        (ExitCode.INCONCLUSIVE, INCONCLUSIVE, "fail", False),
        (ExitCode.INCONCLUSIVE, INCONCLUSIVE, "inconclusive", True),
        (ExitCode.PASS, INCONCLUSIVE, "inconclusive", True),
        (ExitCode.PASS, INCONCLUSIVE, "fail", False),
        (ExitCode.UNMEASURABLE, UNMEASURABLE, "unmeasurable", True),
        (ExitCode.UNMEASURABLE, UNMEASURABLE, "fail", False),
        (ExitCode.UNMEASURABLE, None, "unmeasurable", True),
        (ExitCode.RUNNING, None, "running", True),
        (ExitCode.RUNNING, None, "fail", False),
        (ExitCode.USAGE, None, "never", True),
        (ExitCode.CANCELLED, None, "never", True),
    ],
)
def test_should_fail_by_code_verdict_and_fail_on(
    code: ExitCode, verdict: Verdict | None, fail_on: str, *, fails: bool
) -> None:
    assert inputs(fail_on=fail_on).should_fail(code, verdict) is fails


def test_running_does_not_fail_submit() -> None:
    assert not inputs(mode="submit").should_fail(ExitCode.RUNNING, None)
