from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.support.evaluations import Evaluation
from tests.support.gate_reports import make_results
from tests.support.scenarios import Scenario

from nel_action.driver.baselines import latest_passing_run, open_baseline, open_pinned, pin_baselines
from nel_action.driver.evaluation import follow
from nel_action.driver.events import Event, Extended, Judged
from nel_action.driver.surroundings import Rules, Surroundings
from nel_action.errors import AmbiguousError, NotFoundError
from nel_action.exporters import registry
from nel_action.gating.verdict import GateReport
from nel_action.ledger import InvocationRow, Ledger
from nel_action.lifecycle.invocation import open_invocation
from nel_action.lifecycle.session import Session
from nel_action.model.results import write_results
from nel_action.spec.policy import GatePolicy

pytestmark = pytest.mark.slow


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
        (pin,) = pin_baselines(rules, Surroundings(home=self.home, environ={}), commit=commit)
        return Path(pin.path) if pin.path else None


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
    assert checkout.find("evals/baseline.json") == checkout.folder / "evals" / "baseline.json"
    with pytest.raises(NotFoundError):
        checkout.find("evals/other.json")


def test_resolver_of_the_surroundings_replaces_the_runs_of_this_machine(checkout: Checkout) -> None:
    checkout.run(checkout.commit())
    other = checkout.run("e" * 40)
    policy = GatePolicy.model_validate({"tasks": {"gsm8k": {"max_drop": 0.1}}, "baseline": "main"})
    rules = Rules(policy=policy, expected=("gsm8k",), folder=checkout.folder)
    around = Surroundings(home=checkout.home, environ={}, branches={"main": other}.get)
    (pin,) = pin_baselines(rules, around, commit=None)
    assert pin.path == str(other)


@pytest.mark.parametrize("policy", [None, GatePolicy()])
def test_no_baseline_without_a_reference(tmp_path: Path, policy: GatePolicy | None) -> None:
    rules = Rules(policy=policy, expected=(), folder=tmp_path)
    around = Surroundings(home=tmp_path, environ={})
    assert pin_baselines(rules, around, commit=None) == ()
    assert open_pinned(rules, around, ()) is None


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


GATE = {"tasks": {"alpha": {"max_drop": 0.1}}, "baseline": "main"}


def judged(events: Iterator[Event]) -> GateReport:
    (event,) = [event for event in events if isinstance(event, Judged)]
    return event.gate


@pytest.fixture
def evaluation(checkout: Checkout) -> Evaluation:
    """Return an evaluation on a branch whose latest passing run has the score 0.9."""
    first = Evaluation(Scenario(scores={1234: 0.9}, gate=GATE), checkout.folder, commit=checkout.commit())
    first.around = Surroundings(home=checkout.home, environ={"NEL_ACTION_COMMIT": first.commit})
    list(first.evaluate())
    commit = checkout.commit()
    second = Evaluation(Scenario(scores={1234: 0.3}, gate=GATE), checkout.folder, commit=commit)
    second.around = Surroundings(home=checkout.home, environ={"NEL_ACTION_COMMIT": commit})
    return second


def pins_of(evaluation: Evaluation) -> list[dict[str, str]]:
    pins: list[dict[str, str]] = json.loads((evaluation.run_dir / "plan.json").read_bytes())["baselines"]
    return pins


def test_plan_names_the_baseline_of_the_submission(evaluation: Evaluation) -> None:
    evaluation.submit()
    (pin,) = pins_of(evaluation)
    results = json.loads((Path(pin["path"]) / "results.json").read_bytes())
    assert (pin["reference"], pin["commit"], pin["created"]) == ("main", results["commit"], results["created"])
    assert pin["digest"].startswith("sha256:")
    gate = judged(evaluation.follow())
    assert gate.verdict == "fail"
    assert gate.baseline_facts is not None
    assert (gate.baseline_facts.commit, gate.baseline_facts.digest) == (pin["commit"], pin["digest"])


def test_later_runs_of_the_branch_do_not_replace_the_baseline(checkout: Checkout, evaluation: Evaluation) -> None:
    evaluation.submit()
    (pin,) = pins_of(evaluation)
    own = evaluation.run_dir
    commit = checkout.commit()
    limit = {"tasks": {"alpha": {"min": 0.1}}}
    lower = Evaluation(Scenario(scores={1234: 0.3}, gate=limit), checkout.folder, commit=commit)
    lower.around = Surroundings(home=evaluation.around.home, environ={"NEL_ACTION_COMMIT": commit})
    list(lower.evaluate())
    assert checkout.latest() == lower.run_dir
    with Ledger(evaluation.around.home) as ledger:
        session = Session(open_invocation(str(own), ledger), evaluation.executor, ledger)
        gate = judged(follow(session, evaluation.around))
    assert gate.verdict == "fail"
    assert gate.baseline_facts is not None
    assert gate.baseline_facts.digest == pin["digest"]


@pytest.mark.parametrize("retry", [False, True])
@pytest.mark.parametrize("name", ["results.json", "samples/alpha.jsonl.gz", ""])
def test_another_or_vanished_baseline_is_unmeasurable(evaluation: Evaluation, name: str, *, retry: bool) -> None:
    evaluation.submit()
    (pin,) = pins_of(evaluation)
    root = Path(pin["path"])
    if name == "results.json":
        data = (root / name).read_text()
        (root / name).write_text(data.replace('"value": 0.9', '"value": 0.3', 1))
    elif name:
        (root / name).write_bytes(b"")
    else:
        root.rename(evaluation.folder / "moved")
    gate = judged(evaluation.follow(retry=retry))
    assert (gate.verdict, gate.exit_code) == ("unmeasurable", 3)
    (reason,) = gate.reasons
    assert pin["digest"] in reason
    assert ("does not exist any more" in reason) if not name else (reason.count("sha256:") == 2)
    assert "run the gate again" in reason


def test_branch_without_a_run_at_submission_stays_without(tmp_path: Path) -> None:
    checkout = Checkout(tmp_path / "p")
    first, second = checkout.commit(), checkout.commit()
    evaluation = Evaluation(Scenario(scores={1234: 0.3}, gate=GATE), checkout.folder, commit=second)
    evaluation.around = Surroundings(home=checkout.home, environ={"NEL_ACTION_COMMIT": second})
    evaluation.submit()
    assert [pin["digest"] for pin in pins_of(evaluation)] == [None]
    checkout.run(first)
    gate = judged(evaluation.follow())
    assert (gate.baseline, gate.verdict) == (None, "pass")


def test_plan_of_an_older_version_gets_its_baseline_when_it_is_judged(evaluation: Evaluation) -> None:
    evaluation.submit()
    path = evaluation.run_dir / "plan.json"
    plan = json.loads(path.read_bytes())
    (pin,) = plan.pop("baselines")
    path.write_text(json.dumps(plan))
    assert judged(evaluation.follow()).verdict == "fail"
    (later,) = pins_of(evaluation)
    assert later["digest"] == pin["digest"]


def test_confirmation_is_judged_with_the_baseline_of_the_submission(evaluation: Evaluation) -> None:
    evaluation.scenario = Scenario(scores={1234: 0.3, 1235: 0.3}, gate=GATE | {"confirm": {"max_tasks": 1}})
    evaluation.__post_init__()
    home = evaluation.folder.parent / "home"
    evaluation.around = Surroundings(home=home, environ={"NEL_ACTION_COMMIT": evaluation.commit})
    events = list(evaluation.evaluate())
    assert any(isinstance(event, Extended) for event in events)
    (pin,) = pins_of(evaluation)
    gate = judged(iter(events))
    assert gate.baseline_facts is not None
    assert (gate.verdict, gate.baseline_facts.digest) == ("fail", pin["digest"])
