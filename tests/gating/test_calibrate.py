from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from tests.support.gate_results import rule, saved

from nel_action.cli.calibrate import calibrate as command
from nel_action.errors import UsageError
from nel_action.gating.calibrate import calibrate
from nel_action.gating.result_set import ResultSet
from nel_action.model.results import write_results


def runs(folder: Path, count: int) -> list[ResultSet]:
    """Make runs of one model that answers at random: nothing changed between them."""
    random = np.random.default_rng(1)
    rate = random.beta(4, 1, 200)
    found = []
    for place in range(count):
        run = saved(folder / f"r{place}", (random.random(200) < rate).astype(float).tolist())
        write_results(run.results, folder / f"r{place}" / "results.json")
        found.append(run)
    return found


def test_a_tight_policy_cries_wolf_and_a_wide_one_does_not(tmp_path: Path) -> None:
    same = runs(tmp_path, 4)
    tight = calibrate(same, rule({"tasks": {"gsm8k": {"min": 0.79, "max": 0.8, "floor": "point"}}}))
    assert tight.false_fails > 0
    wide = calibrate(same, rule({"tasks": {"gsm8k": {"max_drop": 0.2}}}))
    assert (wide.runs, wide.comparisons, wide.false_fails) == (4, 12, 0)
    assert wide.at_most > 0.5
    assert wide.tasks[0].detectable is not None
    assert wide.tasks[0].detectable > 0.2


def test_one_run_shows_nothing(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least two runs"):
        calibrate(runs(tmp_path, 1), rule({"tasks": {"gsm8k": {"max_drop": 0.2}}}))


def test_the_command_says_it_in_words(tmp_path: Path) -> None:
    runs(tmp_path, 3)
    (tmp_path / "policy.yaml").write_text("tasks: {gsm8k: {max_drop: 0.2}}")
    paths = [str(tmp_path / f"r{place}") for place in range(3)]
    done = CliRunner().invoke(command, [*paths, "-p", str(tmp_path / "policy.yaml")])
    assert done.exit_code == 0, done.output
    assert "3 runs, 6 comparisons: 6 pass" in done.output
    assert "false alarms: 0.0%" in done.output
    assert (
        '"comparisons": 6'
        in CliRunner().invoke(command, [*paths, "-p", str(tmp_path / "policy.yaml"), "--json"]).output
    )
