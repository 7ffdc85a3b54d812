"""Outcomes, outputs, and the state file between two steps."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest
from tests.support import reports

from nel_action.errors import ExitCode
from nel_action.github.inputs import OUTPUTS
from nel_action.github.outcome import Outcome, State, StateFile, finished_outcome


@pytest.fixture
def state(tmp_path: Path) -> StateFile:
    return StateFile({"RUNNER_TEMP": str(tmp_path)}, "Benchmark gate")


@pytest.mark.parametrize("code", list(ExitCode))
def test_outputs_are_complete_for_all_exit_codes(code: ExitCode) -> None:
    outputs = Outcome(code=int(code)).outputs()
    assert tuple(outputs) == OUTPUTS
    assert outputs["exit-code"] == str(int(code))
    assert all(isinstance(value, str) for value in outputs.values())


def test_default_outcome_is_an_error() -> None:
    outcome = Outcome()
    assert (outcome.code, outcome.verdict, outcome.state) == (3, "none", "error")


def test_state_is_read_by_another_process(state: StateFile, tmp_path: Path) -> None:
    state.update(check_id=7, secrets=("MODEL_KEY",), outcome=Outcome(code=5, invocation="0" * 16, state="running"))
    state.update(run_dir="/runs/x")
    reread = StateFile({"RUNNER_TEMP": str(tmp_path)}, "Benchmark gate").read()
    assert reread == State(
        check_id=7,
        secrets=("MODEL_KEY",),
        run_dir="/runs/x",
        outcome=Outcome(code=5, invocation="0" * 16, state="running"),
    )


def test_state_file_is_private(state: StateFile) -> None:
    state.update(run_dir="x")
    assert stat.S_IMODE(state.path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"outcome": {}}', '{"outcome": {"code": 0, "wrong": 1}, "secrets": []}'],
)
def test_malformed_state_is_none(state: StateFile, text: str) -> None:
    state.path.parent.mkdir(parents=True)
    state.path.write_text(text)
    assert state.read() is None


def test_state_with_unknown_field_is_none(state: StateFile) -> None:
    state.update(run_dir="x")
    data = json.loads(state.path.read_text()) | {"from_the_future": True}
    state.path.write_text(json.dumps(data))
    assert state.read() is None


def test_gates_of_one_job_have_separate_states(tmp_path: Path) -> None:
    small, large = (StateFile({"RUNNER_TEMP": str(tmp_path)}, name) for name in ("Gate: small", "Gate: large"))
    small.update(run_dir="x")
    assert large.read() is None


def test_clear_deletes_state_and_may_be_repeated(state: StateFile) -> None:
    state.update(run_dir="x")
    state.clear()
    state.clear()
    assert state.read() is None


def test_finished_outcome_has_reason_in_one_line(tmp_path: Path) -> None:
    report = reports.failed()
    outcome = finished_outcome(report, tmp_path)
    assert (outcome.verdict, outcome.code, outcome.state) == ("fail", 1, "finished")
    assert outcome.summary.startswith("fail: ")
    assert "\n" not in outcome.summary
    assert outcome.results == str(tmp_path / "results.json")


def test_states_of_gates_with_similar_names_are_separate() -> None:
    names = ("GPT 4", "GPT-4", "模型", "модель", "gate")
    assert len({StateFile({}, name).path for name in names}) == len(names)
