"""The state on disk between two steps, and the outputs made of it."""

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
def test_every_output_is_there_for_every_exit_code(code: ExitCode) -> None:
    outputs = Outcome(code=int(code)).outputs()
    assert tuple(outputs) == OUTPUTS
    assert outputs["exit-code"] == str(int(code))
    assert all(isinstance(value, str) for value in outputs.values())


def test_nothing_known_is_an_error_and_no_pass() -> None:
    outcome = Outcome()
    assert (outcome.code, outcome.verdict, outcome.state) == (3, "none", "error")


def test_what_is_written_is_read_again_by_another_process(state: StateFile, tmp_path: Path) -> None:
    state.update(check_id=7, secrets=("MODEL_KEY",), outcome=Outcome(code=5, invocation="0" * 16, state="running"))
    state.update(run_dir="/runs/x")
    again = StateFile({"RUNNER_TEMP": str(tmp_path)}, "Benchmark gate").read()
    assert again == State(
        check_id=7,
        secrets=("MODEL_KEY",),
        run_dir="/runs/x",
        outcome=Outcome(code=5, invocation="0" * 16, state="running"),
    )


def test_it_is_nobody_elses_to_read(state: StateFile) -> None:
    state.update(run_dir="x")
    assert stat.S_IMODE(state.path.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "null", '{"outcome": {}}', '{"outcome": {"code": 0, "wrong": 1}, "secrets": []}'],
)
def test_a_state_that_is_not_whole_is_none(state: StateFile, text: str) -> None:
    state.path.parent.mkdir(parents=True)
    state.path.write_text(text)
    assert state.read() is None


def test_a_field_of_another_version_is_none_and_no_guess(state: StateFile) -> None:
    state.update(run_dir="x")
    data = json.loads(state.path.read_text()) | {"from_the_future": True}
    state.path.write_text(json.dumps(data))
    assert state.read() is None


def test_two_gates_of_one_job_keep_two_states(tmp_path: Path) -> None:
    one, two = (StateFile({"RUNNER_TEMP": str(tmp_path)}, name) for name in ("Gate: small", "Gate: large"))
    one.update(run_dir="one")
    assert two.read() is None


def test_an_earlier_call_is_forgotten(state: StateFile) -> None:
    state.update(run_dir="x")
    state.clear()
    state.clear()
    assert state.read() is None


def test_a_judged_run_says_why_in_one_line(tmp_path: Path) -> None:
    report = reports.failed()
    outcome = finished_outcome(report, tmp_path)
    assert (outcome.verdict, outcome.code, outcome.state) == ("fail", 1, "finished")
    assert outcome.summary.startswith("fail: ")
    assert "\n" not in outcome.summary
    assert outcome.results == str(tmp_path / "results.json")
