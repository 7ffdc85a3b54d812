from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from tests.support.gate_results import make_policy, make_run

from nel_action.cli.calibrate import calibrate as command
from nel_action.errors import UsageError
from nel_action.gating.calibrate import calibrate
from nel_action.gating.result_set import ResultSet
from nel_action.model.results import write_results


def make_runs(directory: Path, count: int) -> list[ResultSet]:
    """Write runs of one model with random answers, between which nothing changed."""
    random = np.random.default_rng(1)
    rate = random.beta(4, 1, 200)
    runs = []
    for index in range(count):
        run = make_run(directory / f"r{index}", (random.random(200) < rate).astype(float).tolist())
        write_results(run.results, directory / f"r{index}" / "results.json")
        runs.append(run)
    return runs


def test_calibrate_counts_false_alarms_of_strict_and_lenient_policies(tmp_path: Path) -> None:
    runs = make_runs(tmp_path, 4)
    strict = calibrate(runs, make_policy({"tasks": {"gsm8k": {"min": 0.79, "max": 0.8, "floor": "point"}}}))
    assert strict.false_fails > 0
    lenient = calibrate(runs, make_policy({"tasks": {"gsm8k": {"max_drop": 0.2}}}))
    assert (lenient.runs, lenient.comparisons, lenient.false_fails) == (4, 12, 0)
    assert lenient.at_most > 0.5
    assert lenient.tasks[0].detectable is not None
    assert lenient.tasks[0].detectable > 0.2


def test_calibrate_needs_two_runs(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least two runs"):
        calibrate(make_runs(tmp_path, 1), make_policy({"tasks": {"gsm8k": {"max_drop": 0.2}}}))


def test_calibrate_command_prints_text_and_json(tmp_path: Path) -> None:
    make_runs(tmp_path, 3)
    (tmp_path / "policy.yaml").write_text("tasks: {gsm8k: {max_drop: 0.2}}")
    argv = [*(str(tmp_path / f"r{index}") for index in range(3)), "-p", str(tmp_path / "policy.yaml")]
    text = CliRunner().invoke(command, argv)
    assert text.exit_code == 0, text.output
    assert "3 runs, 6 comparisons: 6 pass" in text.output
    assert "false alarms: 0.0 %" in text.output
    assert '"comparisons": 6' in CliRunner().invoke(command, [*argv, "--json"]).output


def test_calibrate_with_a_task_that_cannot_be_judged_exits_with_3_and_names_it(tmp_path: Path) -> None:
    make_runs(tmp_path, 2)
    file = tmp_path / "policy.yaml"
    file.write_text("tasks: {gsm8k: {max_drop: 0.2, min_items: 500}}")
    outcome = CliRunner().invoke(
        command, [str(tmp_path / "r0"), str(tmp_path / "r1"), "-p", str(file)], standalone_mode=False
    )
    assert outcome.return_value == 3
    assert "gsm8k" in outcome.output.splitlines()[-1]
