"""The library: what the command line does, as functions.

    from nel_action import load_spec, run, wait

    spec = load_spec("evals/gate.yaml", overrides=["evaluation.params.limit_samples=20"])
    report = wait(run(spec))
    print(report.gate.verdict, report.gate.exit_code)

Every function reads `$NEL_ACTION_HOME` (by default `~/.nel-action`) and the environment at the moment it is
called. Times are in seconds. Everything that goes wrong on purpose is a `NelActionError`, whose `exit_code` is
what the command line would have ended with.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

from nel_action.driver.confirmation import second_look
from nel_action.driver.judging import conclude, find_baseline
from nel_action.driver.preflight import check_gate
from nel_action.errors import NelActionError
from nel_action.files import home_dir
from nel_action.ledger import Ledger, run_dir_of
from nel_action.lifecycle.launch import start
from nel_action.lifecycle.loading import load
from nel_action.lifecycle.prepare import check, prepare, select_tasks
from nel_action.lifecycle.session import JobView, Session, open_session
from nel_action.lifecycle.submit import submit
from nel_action.lifecycle.waiting import finished, refresh
from nel_action.lifecycle.waiting import wait as watch
from nel_action.planning.jobs import Plan
from nel_action.report.model import Report
from nel_action.spec.compose import LoadedSpec
from nel_action.spec.policy import GatePolicy

if TYPE_CHECKING:
    from nel_action.exporters.interface import ExportOutcome
    from nel_action.gating.verdict import GateReport

__all__ = ["StillRunningError", "export", "gate", "home_dir", "load_spec", "plan", "run", "status", "wait"]


class StillRunningError(NelActionError):
    """The time to wait was over first; the jobs go on. The command line ends with 5 then."""


def load_spec(path: str | Path, *, overrides: Sequence[str] = (), tasks: Sequence[str] = ()) -> LoadedSpec:
    """Load, compose and check a spec.

        spec = load_spec("evals/gate.yaml", overrides=["execution.parallelism=2"], tasks=["gsm8k"])

    Args:
        path: the spec's file.
        overrides: in Hydra's form, as for `-o`.
        tasks: keep only these tasks; all where empty.

    Raises:
        SpecError: all that is wrong with it, each with its place.
        NotFoundError: a task that the spec does not have.
    """
    return select_tasks(load(Path(path), overrides=overrides), tasks)


def plan(spec: LoadedSpec, *, fresh: bool = False) -> Plan:
    """Work out the jobs of a spec without starting anything.

        for job in plan(spec).jobs:
            print(job.key, job.name, job.image)

    Raises:
        SpecError: what the spec asks for cannot be planned.
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
    """Start a spec's jobs, each exactly once, and return the invocation's id.

        invocation = run(load_spec("evals/gate.yaml"))

    Args:
        spec: the spec.
        fresh: run everything again, whatever was evaluated before.
        check_endpoint: send the target one tiny request first.
        on_created: called when the invocation is on disk and before anything is submitted.

    Raises:
        SpecError: the spec, its policy or its exports are wrong.
        SecretError: a variable that the spec names is not set.
        UnreachableError: the backend or the target does not answer as it should.
    """
    from nel_action.exporters.preflight import check_exports

    home = home_dir()
    check_gate(spec.spec, locate=spec.locate)
    check_exports(spec, os.environ)
    with prepare(spec, home=home, environ=os.environ, fresh=fresh) as prepared:
        find_baseline(spec.spec, folder=spec.base_dir, home=home)
        check(prepared, endpoint=check_endpoint)
        ledger = Ledger(home)
        try:
            return start(prepared, ledger, on_created=on_created).invocation.id
        finally:
            ledger.close()


def wait(invocation: str, *, timeout: float | None = None) -> Report:
    """Wait for an invocation, then collect, judge and report it.

        report = wait(invocation, timeout=3600)

    Args:
        invocation: the beginning of its id, or its run directory.
        timeout: seconds; None waits without end.

    Returns:
        Results, verdict and facts; `results.json`, `gate.json` and the reports are on disk by then.

    Raises:
        StillRunningError: the time was over first; the jobs go on.
        NotFoundError: there is no such invocation.
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    with open_session(invocation, home=home_dir(), environ=os.environ) as opened:
        submit(opened)
        again: Session | None = opened
        while again is not None:
            current = again
            views = watch(current, on_look=lambda _views: None, stop=Event(), deadline=deadline)
            if not finished(views):
                msg = f"invocation {current.invocation.id} still runs after {timeout:g} s"
                raise StillRunningError(msg, hint="wait again; nothing was lost")
            again = second_look(current, views)
        return conclude(current, views)


def status(invocation: str) -> list[JobView]:
    """Look once at the jobs of an invocation.

        [view.state for view in status("4f1c9a20")]

    Raises:
        NotFoundError: there is no such invocation.
    """
    with open_session(invocation, home=home_dir(), environ=os.environ) as session:
        return refresh(session)


def gate(candidate: str | Path, *, baseline: str | Path | None = None, policy: GatePolicy | None = None) -> GateReport:
    """Judge results that are there already.

        verdict = gate("runs/2026-01-02-…", baseline="evals/baseline.json", policy=policy).verdict

    Args:
        candidate: an invocation, a run directory, or any result files that `nel-action gate` reads.
        baseline: the same, to compare with.
        policy: what is allowed; None asks only that everything is there.

    Raises:
        ResultsError: files are missing or not whole.
        SpecError: the policy does not fit the tasks.
    """
    from nel_action.gating.external import open_run
    from nel_action.gating.judge import judge_runs

    run_ = open_run(_path(candidate))
    expected = list(dict.fromkeys(task.task for task in run_.results.tasks))
    before = None if baseline is None else open_run(_path(baseline))
    return judge_runs(run_, policy=policy, baseline=before, expected=expected)


def _path(reference: str | Path) -> Path:
    path = Path(reference)
    return path if path.exists() else run_dir_of(str(reference), home_dir())


def export(invocation: str, destination: str) -> ExportOutcome:
    """Send the results of an invocation where its spec's `export.<destination>` says; twice changes nothing.

        outcome = export("4f1c9a20", "mlflow")

    Returns:
        What was made, changed, left alone or failed, thing by thing; `outcome.complete` says whether all of it went.

    Raises:
        NotFoundError: no such invocation or exporter.
        SpecError: the options are wrong; nothing was sent.
    """
    from nel_action.exporters.service import export_run

    return export_run(run_dir_of(invocation, home_dir()), destination, os.environ)
