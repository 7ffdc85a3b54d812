"""The library: the functions of the command line for Python programs.

    from nel_action import load_spec, run, wait

    spec = load_spec("evals/gate.yaml", overrides=["evaluation.params.limit_samples=20"])
    report = wait(run(spec))
    print(report.gate.verdict, report.gate.exit_code)

Every function reads `$NEL_ACTION_HOME` (default: `~/.nel-action`) and the environment when it is called. Durations are
in seconds. Every expected failure raises a `NelActionError`; its `exit_code` is that of the command line.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from nel_action.driver.evaluation import evaluate, follow
from nel_action.driver.events import Created, Exported, Reported, Submitted
from nel_action.driver.preflight import check_plan, check_spec
from nel_action.driver.surroundings import Surroundings
from nel_action.errors import NelActionError
from nel_action.files import home_dir
from nel_action.ledger import run_dir_of
from nel_action.lifecycle.loading import load, select_tasks
from nel_action.lifecycle.prepare import prepare
from nel_action.lifecycle.session import JobView, Session, open_session
from nel_action.lifecycle.waiting import refresh
from nel_action.planning.jobs import Plan
from nel_action.report.model import Report
from nel_action.spec.compose import LoadedSpec
from nel_action.spec.policy import GatePolicy

if TYPE_CHECKING:
    from nel_action.exporters.interface import ExportOutcome
    from nel_action.gating.verdict import GateReport

__all__ = [
    "ExportWarning",
    "StillRunningError",
    "export",
    "gate",
    "home_dir",
    "load_spec",
    "plan",
    "run",
    "status",
    "wait",
]


class StillRunningError(NelActionError):
    """The time limit passed while jobs were active; they run on. The command line exits with 5."""


class ExportWarning(UserWarning):
    """Results were not sent to a destination of `execution.auto_export`, or will not be as things are now."""


def load_spec(path: str | Path, *, overrides: Sequence[str] = (), tasks: Sequence[str] = ()) -> LoadedSpec:
    """Load, compose and validate a spec.

        spec = load_spec("evals/gate.yaml", overrides=["execution.parallelism=2"], tasks=["gsm8k"])

    Args:
        path: file of the spec.
        overrides: Hydra overrides, as for `-o`.
        tasks: keep only these tasks; all if empty.

    Raises:
        SpecError: the spec is invalid; all problems have their source positions.
        NotFoundError: the spec does not have one of the tasks.
    """
    return select_tasks(load(Path(path), overrides=overrides), tasks)


def plan(spec: LoadedSpec, *, fresh: bool = False) -> Plan:
    """Plan the jobs of a spec; submit nothing.

        for job in plan(spec).jobs:
            print(job.key, job.name, job.image)

    Args:
        spec: the spec.
        fresh: give every job a new key, so that no earlier result is reused.

    Raises:
        SpecError: the spec cannot be planned.
        UnreachableError: the executor's backend does not answer.
    """
    with prepare(spec, home=home_dir(), environ=os.environ, fresh=fresh) as prepared:
        return prepared.plan


def run(
    spec: LoadedSpec,
    *,
    fresh: bool = False,
    check_endpoint: bool = True,
    on_created: Callable[[Session], None] | None = None,
) -> str:
    """Submit the jobs of a spec, each exactly once, and return the invocation's ID.

        invocation = run(load_spec("evals/gate.yaml"))

    What prevents an export at the moment, such as a missing credential, is an `ExportWarning`.

    Args:
        spec: the spec.
        fresh: run every job, even if it was evaluated before.
        check_endpoint: send the target one minimal request first.
        on_created: called when the invocation is on disk and nothing has been submitted.

    Raises:
        SpecError: the spec, its policy or its exports are invalid.
        SecretError: a variable that the spec names is not set.
        UnreachableError: the backend or the target does not answer.
    """
    around = Surroundings(home=home_dir(), environ=os.environ)
    for warning in check_spec(spec, around):
        warnings.warn(str(warning), ExportWarning, stacklevel=2)
    with prepare(spec, home=around.home, environ=around.environ, fresh=fresh) as planned:
        prepared = check_plan(planned, around, endpoint=check_endpoint)
        with closing(evaluate(prepared, around)) as events:
            for event in events:
                match event:
                    case Created(session):
                        if on_created is not None:
                            on_created(session)
                    case Submitted():
                        return event.session.invocation.id
                    case _:
                        pass
    raise AssertionError  # pragma: no cover - every evaluation submits


def wait(invocation: str, *, timeout: float | None = None) -> Report:
    """Wait for an invocation, then collect, judge, report and export its results.

        report = wait(invocation, timeout=3600)

    Results go to the destinations of `execution.auto_export`. An export that fails is an `ExportWarning` and never
    changes the verdict.

    Args:
        invocation: the beginning of its ID, or its run directory.
        timeout: time limit in seconds; None for no limit.

    Returns:
        Results, verdict and metadata; `results.json`, `gate.json` and the reports are on disk.

    Raises:
        StillRunningError: the time limit passed; the jobs run on.
        NotFoundError: there is no such invocation.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    around = Surroundings(home=home_dir(), environ=os.environ, deadline=deadline)
    report: Report | None = None
    problems: list[str] = []
    with open_session(invocation, home=around.home, environ=around.environ) as session:
        for event in follow(session, around):
            match event:
                case Reported():
                    report = event.report
                case Exported():
                    problems += [f"export to {event.destination}: {problem}" for problem in event.problems]
                case _:
                    pass
    for problem in problems:
        warnings.warn(problem, ExportWarning, stacklevel=2)
    if report is None:
        msg = f"invocation {session.invocation.id} is still running after {timeout:g} s"
        raise StillRunningError(msg, hint="wait again; nothing is lost")
    return report


def status(invocation: str) -> list[JobView]:
    """Poll the jobs of an invocation once.

        [view.state for view in status("4f1c9a20")]

    Raises:
        NotFoundError: there is no such invocation.
    """
    with open_session(invocation, home=home_dir(), environ=os.environ) as session:
        return refresh(session)


def gate(candidate: str | Path, *, baseline: str | Path | None = None, policy: GatePolicy | None = None) -> GateReport:
    """Judge existing results.

        verdict = gate("runs/2026-01-02-…", baseline="evals/baseline.json", policy=policy).verdict

    Args:
        candidate: an invocation, a run directory, or result files of a supported format.
        baseline: the results to compare with, in the same forms.
        policy: the limits; None requires only that all results are complete.

    Raises:
        ResultsError: files are missing or incomplete.
        SpecError: the policy does not fit the tasks.
    """
    from nel_action.gating.external import open_run
    from nel_action.gating.judge import judge_result_set

    results = open_run(_path(candidate))
    expected = list(dict.fromkeys(task.task for task in results.results.tasks))
    before = None if baseline is None else open_run(_path(baseline))
    return judge_result_set(results, policy=policy, baseline=before, expected=expected)


def _path(reference: str | Path) -> Path:
    path = Path(reference)
    return path if path.exists() else run_dir_of(str(reference), home_dir())


def export(invocation: str, destination: str) -> ExportOutcome:
    """Send the results of an invocation to a destination of its spec; sending them again changes nothing.

        outcome = export("4f1c9a20", "mlflow")

    Args:
        invocation: the beginning of its ID, or its run directory.
        destination: name of the exporter; its options are under `export.<destination>` in the spec.

    Returns:
        The outcome per item; `outcome.complete` tells whether everything was sent.

    Raises:
        NotFoundError: there is no such invocation or exporter.
        SpecError: the options are invalid; nothing was sent.
    """
    from nel_action.exporters.service import export_run

    return export_run(run_dir_of(invocation, home_dir()), destination, os.environ)
