from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.evaluations import Evaluation
from tests.support.gate_reports import make_results
from tests.support.scenarios import Scenario

from nel_action.driver.baselines import find_baseline, latest_passing_run, open_baseline
from nel_action.driver.events import Judged
from nel_action.driver.surroundings import Rules, Surroundings
from nel_action.errors import AmbiguousError, NotFoundError
from nel_action.exporters import registry
from nel_action.ledger import InvocationRow, Ledger
from nel_action.model.results import write_results
from nel_action.spec.policy import GatePolicy


@dataclass
class Checkout:
    """A git repository, and the runs of its commits on this machine."""

    folder: Path
    runs: int = 0

    def __post_init__(self) -> None:
        self.folder.mkdir()
        self.git("init", "-q", "-b", "main")

    @property
    def home(self) -> Path:
        return self.folder.parent / "home"

    def git(self, *arguments: str) -> str:
        identity = ["-c", "user.name=t", "-c", "user.email=t@example.invalid"]
        argv = ["git", "-C", str(self.folder), *identity, *arguments]
        return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()

    def commit(self) -> str:
        self.git("commit", "-q", "--allow-empty", "-m", "change")
        return self.git("rev-parse", "HEAD")

    def run(self, commit: str, verdict: str = "pass") -> Path:
        """Save a run of a commit and add it to the ledger."""
        self.runs += 1
        identity = f"{self.runs:016x}"
        run_dir = self.folder.parent / "runs" / identity
        results = make_results(commit=commit).model_copy(update={"invocation": identity})
        write_results(results, run_dir / "results.json")
        (run_dir / "gate.json").write_text(json.dumps({"verdict": verdict}))
        (run_dir / "invocation.json").write_text("{}")
        created = f"2026-11-22T10:30:{self.runs:02}Z"
        with Ledger(self.home) as ledger:
            ledger.add(InvocationRow(id=identity, created=created, run_dir=run_dir, spec="s.yaml", executor="local"))
        return run_dir

    def latest(self, branch: str = "main", exclude: str | None = None) -> Path | None:
        return latest_passing_run(branch, checkout=self.folder, home=self.home, exclude=exclude)

    def find(self, reference: str, commit: str | None = None) -> Path | None:
        """Return the directory of the baseline of a policy."""
        policy = GatePolicy.model_validate({"tasks": {"gsm8k": {"max_drop": 0.1}}, "baseline": reference})
        rules = Rules(policy=policy, expected=("gsm8k",), folder=self.folder)
        baseline = find_baseline(rules, Surroundings(home=self.home, environ={}), commit=commit)
        return baseline.root if baseline else None


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    return Checkout(tmp_path / "work")


def test_branch_resolves_to_the_passing_run_of_its_latest_commit(checkout: Checkout) -> None:
    first, second, third = checkout.commit(), checkout.commit(), checkout.commit()
    newer = checkout.run(second)
    checkout.run(first)
    checkout.run(third, verdict="fail")
    assert checkout.latest() == newer
    assert checkout.find("main") == newer


def test_the_commit_under_test_is_not_its_own_baseline(checkout: Checkout) -> None:
    first, second = checkout.commit(), checkout.commit()
    earlier, own = checkout.run(first), checkout.run(second)
    assert checkout.find("main", commit=second) == earlier
    assert checkout.find("main", commit=None) == own
    assert checkout.latest(exclude=second) == earlier


def test_runs_of_other_branches_are_no_baseline(checkout: Checkout) -> None:
    checkout.commit()
    checkout.git("checkout", "-q", "-b", "change")
    checkout.run(checkout.commit())
    assert checkout.latest("main") is None
    assert checkout.find("main") is None
    assert checkout.latest("change") is not None


@pytest.mark.parametrize("damage", ["gate.json", "results.json"])
@pytest.mark.parametrize("text", [None, "{", "[]"])
def test_unreadable_runs_are_no_baseline(checkout: Checkout, damage: str, text: str | None) -> None:
    path = checkout.run(checkout.commit()) / damage
    path.unlink() if text is None else path.write_text(text)
    assert checkout.latest() is None


@pytest.mark.parametrize("branch", ["release", "--all", "-n1"])
def test_unknown_branch_is_rejected(checkout: Checkout, branch: str) -> None:
    checkout.run(checkout.commit())
    with pytest.raises(NotFoundError, match="no such path, invocation or branch here"):
        checkout.latest(branch)


def test_invocations_resolve_by_their_prefix(checkout: Checkout) -> None:
    commit = checkout.commit()
    run_dir = checkout.run(commit)
    assert checkout.find(run_dir.name) == run_dir
    checkout.run(commit)
    with pytest.raises(AmbiguousError, match="matches several invocations"):
        checkout.find("0000")


def test_paths_are_relative_to_the_policy(checkout: Checkout) -> None:
    write_results(make_results(), checkout.folder / "evals" / "baseline.json")
    assert checkout.find("evals/baseline.json") == checkout.folder / "evals"
    with pytest.raises(NotFoundError):
        checkout.find("evals/other.json")


def test_resolver_of_the_surroundings_replaces_the_runs_of_this_machine(checkout: Checkout) -> None:
    checkout.run(checkout.commit())
    other = checkout.run("e" * 40)
    policy = GatePolicy.model_validate({"tasks": {"gsm8k": {"max_drop": 0.1}}, "baseline": "main"})
    rules = Rules(policy=policy, expected=("gsm8k",), folder=checkout.folder)
    around = Surroundings(home=checkout.home, environ={}, branches={"main": other}.get)
    baseline = find_baseline(rules, around)
    assert baseline is not None
    assert baseline.root == other


@pytest.mark.parametrize("policy", [None, GatePolicy()])
def test_no_baseline_without_a_reference(tmp_path: Path, policy: GatePolicy | None) -> None:
    rules = Rules(policy=policy, expected=(), folder=tmp_path)
    assert find_baseline(rules, Surroundings(home=tmp_path, environ={})) is None


def test_mlflow_runs_are_fetched_by_the_exporter(checkout: Checkout, monkeypatch: pytest.MonkeyPatch) -> None:
    run_dir = checkout.run(checkout.commit())
    calls: list[tuple[str, Path, Mapping[str, str]]] = []

    def fetch(reference: str, home: Path, environ: Mapping[str, str]) -> Path:
        calls.append((reference, home, environ))
        return run_dir

    monkeypatch.setattr("nel_action.exporters.mlflow.baseline.fetch", fetch)
    environ = {"MLFLOW_TRACKING_URI": "http://mlflow.example"}
    baseline = open_baseline("mlflow:5eed", folder=checkout.folder, home=checkout.home, environ=environ)
    assert baseline is not None
    assert (baseline.root, calls) == (run_dir, [("5eed", checkout.home, environ)])


def test_plug_ins_fetch_baselines_of_other_services(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class EntryPoint:
        def load(self) -> object:
            return lambda reference, home, environ: home / reference / environ["A"]

    def entry_points(*, group: str, name: str) -> list[EntryPoint]:
        return [EntryPoint()] if (group, name) == ("nel_action.baselines", "service") else []

    monkeypatch.setattr(registry, "entry_points", entry_points)
    assert registry.fetch_baseline("service", "run", tmp_path, {"A": "a"}) == tmp_path / "run" / "a"
    assert registry.fetch_baseline("unknown", "run", tmp_path, {}) is None


def test_evaluation_compares_with_the_branch_and_never_with_itself(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path / "p")
    gate = {"tasks": {"alpha": {"max_drop": 0.1}}, "baseline": "main"}
    commits = [checkout.commit(), checkout.commit()]

    def verdict(commit: str, score: float) -> str:
        evaluation = Evaluation(Scenario(scores={1234: score}, gate=gate), checkout.folder, commit=commit)
        evaluation.around = Surroundings(home=checkout.home, environ={"NEL_ACTION_COMMIT": commit})
        (judged,) = [event for event in evaluation.evaluate() if isinstance(event, Judged)]
        return judged.gate.verdict.value

    first = verdict(commits[0], 0.9)
    assert first == "pass"
    assert verdict(commits[1], 0.3) == "fail"
    # NOTE: judged again, the first commit has no other commit to be compared with.
    assert verdict(commits[0], 0.2) == first
