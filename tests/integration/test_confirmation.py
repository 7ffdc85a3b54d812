"""A failing task is run once more with another seed, exactly once, whichever process is killed."""

from __future__ import annotations

import json
import signal
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tests.support.project import Project, kill

from nel_action.model.results import read_results, read_samples

PROGRAM = """
import json, os, pathlib, sys, time
name, seconds, scores = sys.argv[1], float(sys.argv[2]), json.loads(sys.argv[3])
seed = os.environ["NEL_SEED"]
with open(os.environ["RAN"], "a") as log:
    log.write(f"{name}:{seed}\\n")
time.sleep(seconds)
hold, deadline = pathlib.Path(f"{os.environ['RAN']}-hold-{seed}"), time.monotonic() + 120
while hold.exists() and time.monotonic() < deadline:
    time.sleep(0.02)
value = scores.get(seed)
if value is None:
    sys.exit(9)
out, n = pathlib.Path(os.environ["NEL_OUTPUT_DIR"]), 200
rows = [{"id": str(i), "scores": {"acc": float(i < n * value)}} for i in range(n)]
(out / "samples.jsonl").write_text("".join(json.dumps(row) + "\\n" for row in rows))
score = {"acc": {"value": value, "stderr": 0.03, "higher_is_better": True}}
(out / "scores.json").write_text(json.dumps({"scores": score, "n_items": n}))
"""


class SeededProject(Project):
    """One task whose score depends on the seed, and a limit of at least 0.72."""

    scores: dict[str, float]
    confirm = "confirm: {}"

    def __init__(
        self, folder: Path, scores: dict[str, float], *, seconds: float = 0.0, confirm: str = "confirm: {}"
    ) -> None:
        self.scores, self.confirm = scores, confirm
        super().__init__(folder, tasks=("alpha",), seconds=seconds)

    def write_spec(self, codes: dict[str, int] | None = None) -> None:
        """Write the spec; `scores` decide what fails."""
        assert codes is None
        (self.folder / "own" / "program.py").write_text(PROGRAM)
        argv = json.dumps(
            [sys.executable, "{task_dir}/program.py", "alpha", str(self.seconds), json.dumps(self.scores)]
        )
        (self.folder / "spec.yaml").write_text(
            "target: {api_endpoint: {url: 'http://127.0.0.1:9/v1/chat/completions', model_id: tiny}}\n"
            "execution: {type: local, runtime: process, parallelism: 2, output_dir: runs}\n"
            f"env_vars: {{RAN: 'lit:{self.ran_file}'}}\n"
            f"evaluation: {{tasks: [{{name: alpha, harness: command, task_dir: own, command: {argv}}}]}}\n"
            f"gate: {{tasks: {{alpha: {{min: 0.72}}}}, {self.confirm}}}\n"
        )

    @property
    def gate(self) -> dict[str, Any]:
        data: dict[str, Any] = json.loads((self.runs[-1] / "gate.json").read_bytes())
        return data


def test_unrepeated_failure_is_not_a_fail(tmp_path: Path) -> None:
    project = SeededProject(tmp_path / "p", {"1234": 0.6, "1235": 0.9})
    done = project.run("--wait")
    assert done.returncode == 4, done.stdout + done.stderr
    assert "run once more with another seed" in done.stderr
    assert project.ran == ["alpha:1234", "alpha:1235"]
    (task,) = read_results(project.runs[-1] / "results.json").tasks
    assert (task.runs, task.scores[0].value, task.n_items) == (2, 0.75, 200)
    assert task.samples is not None
    assert sum(1 for _ in read_samples(project.runs[-1] / task.samples)) == 400
    assert project.gate["verdict"] == "inconclusive"
    note = "alpha failed and was run a second time with seed 1235; both runs are judged together"
    assert note in project.gate["notes"]
    assert note in (project.runs[-1] / "report.md").read_text()
    waited = project.nel("wait", project.runs[-1].name.rsplit("-", 1)[1])
    assert (waited.returncode, project.ran) == (4, ["alpha:1234", "alpha:1235"])
    gate = project.nel("gate", str(project.runs[-1]))
    assert "75.0" in gate.stdout


def test_repeated_failure_is_a_fail_and_a_pass_needs_one_run(tmp_path: Path) -> None:
    failing = SeededProject(tmp_path / "p", {"1234": 0.5, "1235": 0.52})
    assert failing.run("--wait").returncode == 1
    assert failing.ran == ["alpha:1234", "alpha:1235"]
    passing = SeededProject(tmp_path / "q", {"1234": 0.9})
    assert passing.run("--wait").returncode == 0
    assert passing.ran == ["alpha:1234"]


def test_first_run_decides_if_the_confirmation_run_fails(tmp_path: Path) -> None:
    project = SeededProject(tmp_path / "p", {"1234": 0.5})
    done = project.run("--wait")
    assert done.returncode == 1, done.stdout + done.stderr
    assert project.ran == ["alpha:1234", "alpha:1235"]
    assert "the second run, with seed 1235, failed (harness); the first run decides" in project.gate["notes"][0]


def test_max_seconds_prevents_confirmation(tmp_path: Path) -> None:
    project = SeededProject(tmp_path / "p", {"1234": 0.5}, seconds=0.5, confirm="confirm: {max_seconds: 0.1}")
    assert project.run("--wait").returncode == 1
    assert project.ran == ["alpha:1234"]
    assert "confirm.max_seconds is 0.1; the first run decides" in project.gate["notes"][0]


@pytest.mark.parametrize("moment", ["first", "second"])
def test_each_run_is_made_once_after_a_kill(tmp_path: Path, moment: str) -> None:
    project = SeededProject(tmp_path / "p", {"1234": 0.6, "1235": 0.9})
    hold = Path(f"{project.ran_file}-hold-{1234 if moment == 'first' else 1235}")
    hold.touch()
    process = project.start("run", "spec.yaml", "--skip-endpoint-check", "--wait")
    deadline = time.monotonic() + 60
    while len(project.ran) < (1 if moment == "first" else 2):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    kill(process, signal.SIGKILL)
    name = project.runs[-1].name.rsplit("-", 1)[1]
    early = project.nel("wait", name, "--max-wait", "0.1")
    assert early.returncode == 5, early.stderr
    hold.unlink()
    others = [project.start("wait", name) for _ in range(2)]
    for other in others:
        _, stderr = other.communicate(timeout=120)
        assert other.returncode == 4, stderr
    assert project.ran == ["alpha:1234", "alpha:1235"]
    rerun = project.run("--wait")
    assert rerun.returncode == 4, rerun.stderr
    assert project.ran == ["alpha:1234", "alpha:1235"]
