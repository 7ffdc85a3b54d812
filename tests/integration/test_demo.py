"""The two lines of the README as a stranger runs them: a fresh clone, one script, a real model, a verdict."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from tests.support.require import require

from nel_action.model.results import JobOutcome, read_results

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.slow, pytest.mark.model, pytest.mark.harness, pytest.mark.package, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clone what is committed here; the last commit is what a stranger gets."""
    folder = tmp_path_factory.mktemp("demo") / "nel-action"
    words = ["git", "clone", "--quiet", str(ROOT), str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    require("package", done.returncode == 0, f"this is no git checkout: {done.stderr}")
    return folder


def demo(clone: Path, *words: str) -> subprocess.CompletedProcess[str]:
    passed = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "VIRTUAL_ENV"}}
    environ = {**passed, "NEL_ACTION_HOME": str(clone.parent / "home")}
    script = [str(clone / "scripts" / "demo"), *words]
    return subprocess.run(script, env=environ, capture_output=True, text=True, check=False, timeout=800)


def verdict(text: str) -> list[str]:
    """Cut the score table and the last line out, digits and widths aside: those are the machine's."""
    lines = [re.sub(r"[\d.]+|\b[0-9a-f]{16}\b", "#", line) for line in text.splitlines()]
    start = next(number for number, line in enumerate(lines) if line.startswith("task "))
    return [re.sub(r"runs/\S+/", "runs/…/", " ".join(line.split())) for line in lines[start:]]


def test_the_main_job_from_a_fresh_clone_and_its_second_time(clone: Path) -> None:
    done = demo(clone)
    assert done.returncode == 0, done.stdout + done.stderr
    readme = (ROOT / "README.md").read_text()
    shown = re.search(r"<!-- demo -->\n```\n(.*?)```\n<!-- /demo -->", readme, re.DOTALL)
    assert shown is not None
    assert verdict(done.stdout) == verdict(shown[1])
    run_dir = next((clone / "runs").iterdir())
    assert (run_dir / "report.html").is_file()
    results = read_results(run_dir / "results.json")
    assert [task.outcome for task in results.tasks] == [JobOutcome.SUCCEEDED] * 2
    assert all(task.n_items == task.n_expected for task in results.tasks)

    again = demo(clone)
    assert again.returncode == 0, again.stdout + again.stderr
    newest = max((clone / "runs").iterdir())
    assert newest != run_dir
    assert [task.scores for task in read_results(newest / "results.json").tasks] == [
        task.scores for task in results.tasks
    ]
    assert [task.key for task in read_results(newest / "results.json").tasks] == [task.key for task in results.tasks]
