"""The last steps of an invocation: results, verdict, report; in that order, each on disk before the next."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from importlib.metadata import entry_points
from pathlib import Path

from nel_action.driver.score_history import earlier_scores
from nel_action.errors import AmbiguousError, NotFoundError
from nel_action.files import write_atomically
from nel_action.gating.baseline import load_baseline
from nel_action.gating.confirmation import ConfirmationRun, confirmation_notes
from nel_action.gating.judge import judge
from nel_action.gating.result_set import ResultSet
from nel_action.gating.verdict import GateReport
from nel_action.ledger import AttemptRow, Ledger, run_dir_of
from nel_action.lifecycle.collect import collect
from nel_action.lifecycle.session import JobView, Session
from nel_action.model.job import JobState
from nel_action.model.results import Results
from nel_action.report.model import Event, Metadata, Report
from nel_action.report.write import write_reports
from nel_action.spec.model import Spec
from nel_action.spec.policy import GatePolicy

__all__ = ["Resolver", "Rules", "conclude", "find_baseline", "local_branch", "measure", "open_baseline", "own_rules"]

Resolver = Callable[[str], Path | None]
"""From a branch to the newest passing run of it; None where there is none yet."""

LOOK_BACK = 200
"""Commits of a branch among which an earlier run is looked for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """What a gate goes by where that is not the spec's own policy: a change does not bring its own."""

    policy: GatePolicy | None
    expected: tuple[str, ...]
    """Tasks that must have results."""
    folder: Path
    """Where the policy's relative paths start."""
    notes: tuple[str, ...] = ()
    """What should be said beside the verdict."""


def conclude(
    session: Session, views: list[JobView], *, branch: Resolver | None = None, rules: Rules | None = None
) -> Report:
    """Collect, judge and report an invocation whose jobs have ended.

    Safe to call again; the same results give the same verdict. Second runs that the policy asks for are started by
    `second_look`; here their results, where there are any, are judged together with the first.

    Args:
        session: the invocation.
        views: its jobs, as last seen.
        branch: finds the newest passing run of a branch; by default among the runs of this machine.
        rules: what to go by in place of the spec's own policy.

    Returns:
        The report; `report.gate.exit_code` is what the whole means.
    """
    invocation = session.invocation
    rules = rules or own_rules(session)
    results, baseline, gate = measure(session, views, branch=branch, rules=rules)
    confirm = rules.policy.confirm if rules.policy else None
    notes = (*gate.notes, *rules.notes, *confirmation_notes(confirm, gate, results, _seconds(views)))
    gate = gate.model_copy(update={"notes": notes})
    write_atomically(invocation.run_dir / "gate.json", (gate.model_dump_json(indent=2) + "\n").encode())
    report = Report(results=results, gate=gate, metadata=_facts(session, views, baseline))
    report = replace(report, metadata=replace(report.metadata, trend=earlier_scores(report, session.ledger)))
    write_reports(report, invocation.run_dir)
    return report


def own_rules(session: Session) -> Rules:
    """Return the rules that the spec itself brings."""
    spec = session.invocation.plan.spec
    expected = tuple(dict.fromkeys(task.name for task in spec.evaluation.tasks))
    return Rules(policy=spec.gate, expected=expected, folder=session.invocation.base_dir)


def measure(
    session: Session, views: list[JobView], *, branch: Resolver | None, rules: Rules
) -> tuple[Results, ResultSet | None, GateReport]:
    """Collect and judge: the results, what they were held against, and the verdict."""
    results = collect(session, views)
    ruled = session.invocation.plan.spec.model_copy(update={"gate": rules.policy})
    home = session.ledger.path.parent
    # NOTE: judged again, this commit's own earlier pass would be its baseline, and nothing could have changed.
    look = branch or (lambda name: local_branch(name, folder=rules.folder, home=home, below=results.commit))
    baseline = find_baseline(ruled, folder=rules.folder, home=home, branch=look)
    root = session.invocation.run_dir
    return results, baseline, judge(results, policy=rules.policy, baseline=baseline, root=root, expected=rules.expected)


def _seconds(views: Sequence[JobView]) -> list[ConfirmationRun]:
    return [
        ConfirmationRun(view.job.task.display, view.job.model, view.job.task.params.seed, _ended(view))
        for view in views
        if view.job.repeats is not None
    ]


def _ended(view: JobView) -> str | None:
    """Say how a second run ended where it did not succeed."""
    if view.state is JobState.SUCCEEDED:
        return None
    if view.attempt is None or not view.attempt.backend_id:
        return "could not be submitted"
    return f"{view.state.value}" + (f" ({view.attempt.reason})" if view.attempt.reason else "")


def find_baseline(spec: Spec, *, folder: Path, home: Path, branch: Resolver | None = None) -> ResultSet | None:
    """Read what the policy compares with; None where it names nothing, or a branch that has no run yet.

    Raises:
        NotFoundError: it names a path or an invocation that does not exist.
        ResultsError: what it names is not whole.
    """
    reference = spec.gate.baseline if spec.gate else None
    return None if reference is None else open_baseline(reference, folder=folder, home=home, branch=branch)


def open_baseline(reference: str, *, folder: Path, home: Path, branch: Resolver | None = None) -> ResultSet | None:
    """Read what a reference stands for: a path, an invocation of this machine, `mlflow:<run>`, or a branch.

    Args:
        reference: as `gate.baseline` has it.
        folder: where relative paths start, and whose checkout has the branches.
        home: `$NEL_ACTION_HOME`.
        branch: finds the newest passing run of a branch; by default among the runs of this machine.

    Returns:
        The run; None where a branch has none yet.

    Raises:
        NotFoundError: there is nothing of that name, or several.
        ResultsError: what it names is not whole.
    """

    def invocation(prefix: str) -> Path | None:
        try:
            return run_dir_of(prefix, home)
        except AmbiguousError:
            raise
        except NotFoundError:
            return None

    look = branch or (lambda name: local_branch(name, folder=folder, home=home))
    return load_baseline(
        reference, folder=folder, invocation=invocation, branch=look, mlflow=lambda run: _fetched("mlflow", run, home)
    )


def _fetched(scheme: str, reference: str, home: Path) -> Path | None:
    """Fetch a baseline that a service keeps. Who can is found by entry point: exporters stand on a higher floor."""
    for point in entry_points(group="nel_action.baselines", name=scheme):
        found: Path | None = point.load()(reference, home, os.environ)
        return found
    return None


def local_branch(name: str, *, folder: Path, home: Path, below: str | None = None) -> Path | None:
    """Return the newest passing run on this machine whose commit is on a branch of the checkout; not that of `below`.

    Raises:
        NotFoundError: the checkout has no such branch.
    """
    words = ["git", "-C", str(folder), "rev-list", f"--max-count={LOOK_BACK}", "--end-of-options", name, "--"]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=30)
    if done.returncode:
        msg = f"no baseline '{name}': no such path, invocation or branch here"
        raise NotFoundError(msg, hint="gate.baseline takes a results file, a run directory, an invocation or a branch")
    order = {commit: index for index, commit in enumerate(done.stdout.split())}
    ledger = Ledger(home)
    try:
        runs = [row.run_dir for row in ledger.invocations()]
    finally:
        ledger.close()
    passed = [(order[commit], run) for run in runs if (commit := _passing_commit(run)) in order and commit != below]
    return min(passed, key=lambda one: one[0])[1] if passed else None


def _passing_commit(run_dir: Path) -> str:
    """Return the commit of a run that passed its gate, or nothing."""
    try:
        gate, results = (_read(run_dir / name) for name in ("gate.json", "results.json"))
    except (OSError, ValueError):
        return ""
    return str(results.get("commit") or "") if gate.get("verdict") == "pass" else ""


def _read(path: Path) -> Mapping[str, object]:
    data = json.loads(path.read_bytes())
    return data if isinstance(data, dict) else {}


def _facts(session: Session, views: Sequence[JobView], baseline: ResultSet | None) -> Metadata:
    invocation = session.invocation
    ends = [view.attempt.ended for view in views if view.attempt and view.attempt.ended]
    ended = max(ends) if ends else None
    return Metadata(
        spec_path=invocation.source,
        run_dir=invocation.run_dir,
        baseline_dir=baseline.root if baseline else None,
        executor=invocation.executor,
        started=invocation.created,
        ended=ended,
        seconds=_between(invocation.created, ended) if ended else None,
        history=_history(session.ledger.attempts(invocation.id)),
    )


def _between(start: str, end: str) -> float | None:
    """Return seconds; None where jobs of an earlier invocation were reused and so ended before this one began."""
    seconds = (datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds()
    return seconds if seconds >= 0 else None


def _history(rows: Sequence[AttemptRow]) -> tuple[Event, ...]:
    """Tell of every attempt after the first, and of results that were there already."""
    events = []
    for row in rows:
        if row.reused:
            events.append(Event(row.intended, f"{row.name}: attempt {row.number} was there already and was taken over"))
        elif row.number > 1:
            events.append(Event(row.intended, f"{row.name}: attempt {row.number}"))
    return tuple(sorted(events, key=lambda event: event.when))
