"""Inputs: read whole, told all at once, and what they make of an ending."""

from __future__ import annotations

from pathlib import Path

import pytest

from nel_action.errors import ExitCode, SpecError
from nel_action.gating.verdict import Verdict
from nel_action.github.comment import CommentMode
from nel_action.github.inputs import Ending, Inputs, Mode, OnCancel, read_inputs

PASS, FAIL, INCONCLUSIVE, UNMEASURABLE = Verdict.PASS, Verdict.FAIL, Verdict.INCONCLUSIVE, Verdict.UNMEASURABLE


def inputs(**given: str) -> Inputs:
    return read_inputs({"INPUT_SPEC": "a.yaml"} | {f"INPUT_{name.upper()}": value for name, value in given.items()})


def test_nothing_said_means_the_defaults() -> None:
    read = inputs()
    assert (read.spec, read.mode, read.max_wait, read.gate) == (Path("a.yaml"), Mode.RUN, 19_800.0, True)
    assert (read.comment, read.on_cancel, read.check_name) == (CommentMode.ALWAYS, OnCancel.KEEP, "Benchmark gate")
    assert read.fail_on == {Ending.FAIL, Ending.UNMEASURABLE, Ending.RUNNING}
    assert (read.exporters, read.history_branch, read.baseline) == (None, None, None)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("45m", 2700), ("5h30m", 19_800), ("1d", 86_400), ("1h30s", 3630)]
)
def test_times(text: str, seconds: float) -> None:
    assert inputs(max_wait=text).max_wait == seconds


@pytest.mark.parametrize("text", ["soon", "-1", "1.5h", "5 h", "30m5h", "h"])
def test_times_that_mean_nothing(text: str) -> None:
    with pytest.raises(SpecError, match="5h30m"):
        inputs(max_wait=text)


def test_overrides_are_parted_as_a_shell_would_and_nothing_is_expanded() -> None:
    read = inputs(overrides="a.b=1 'c=two words'\nd=$HOME e=`id` #f")
    assert read.overrides == ("a.b=1", "c=two words", "d=$HOME", "e=`id`", "#f")


def test_all_mistakes_are_told_at_once() -> None:
    with pytest.raises(SpecError) as caught:
        read_inputs({"INPUT_MODE": "x", "INPUT_COMMENT": "y", "INPUT_FAIL_ON": "z", "INPUT_OVERRIDES": "'"})
    assert len(caught.value.problems) == 5


def test_a_spec_is_needed_once() -> None:
    with pytest.raises(SpecError, match="give one of them"):
        inputs(config_name="b")
    assert read_inputs({"INPUT_MODE": "collect"}).spec is None
    assert read_inputs({}, spec_needed=False).spec is None


@pytest.mark.parametrize(("text", "gate"), [("true", True), ("False", False), ("p.yaml", Path("p.yaml"))])
def test_gate_is_a_word_or_a_file(text: str, gate: bool | Path) -> None:  # noqa: FBT001
    assert inputs(gate=text).gate == gate


def test_exporters_none_is_nowhere() -> None:
    assert inputs(exporters="none").exporters == ()
    assert inputs(exporters="wandb, mlflow").exporters == ("wandb", "mlflow")


def test_check_name_off_is_no_check() -> None:
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
def test_what_fails_the_step(code: ExitCode, verdict: Verdict | None, fail_on: str, fails: bool) -> None:  # noqa: FBT001
    assert inputs(fail_on=fail_on).fails(code, verdict) is fails


def test_running_is_what_submit_asked_for() -> None:
    assert not inputs(mode="submit").fails(ExitCode.RUNNING, None)
