"""What a nightly gate found, night after night: one JSON line for each run, kept on a data branch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pydantic import ValidationError

from nel_action.errors import ResultsError
from nel_action.gating.trend import TrendEntry, trend_entries
from nel_action.gating.verdict import GateReport, Verdict
from nel_action.github.data_branch import DataBranch
from nel_action.model.results import Record, Results
from nel_action.report.model import TrendPoint
from nel_action.spec.policy import GatePolicy

__all__ = ["History", "ScheduledRun", "scheduled_run", "trend_points"]

KEPT: Final = 400
"""Runs; older ones fall off the end."""


class ScheduledRun(Record):
    """One run."""

    when: str
    """RFC 3339, UTC."""
    commit: str | None = None
    invocation: str
    verdict: Verdict
    tasks: tuple[TrendEntry, ...] = ()


def scheduled_run(
    results: Results, gate: GateReport, policy: GatePolicy | None = None, *, fixed: bool = False
) -> ScheduledRun:
    """Boil a run down to what its successors need; `fixed` says that its baseline stays where it is."""
    tasks = trend_entries(results, gate, policy, fixed=fixed)
    common = {"when": results.created, "commit": results.commit, "invocation": results.invocation}
    return ScheduledRun.model_validate({**common, "verdict": gate.verdict, "tasks": tasks})


def trend_points(nights: Sequence[ScheduledRun]) -> tuple[TrendPoint, ...]:
    """Return every score of every night, oldest first, as a report shows them."""
    return tuple(
        TrendPoint(
            task=task.task,
            model=task.model,
            metric=task.metric,
            when=night.when,
            value=task.value,
            stderr=task.stderr,
            commit=night.commit,
            verdict=task.verdict,
        )
        for night in nights
        for task in night.tasks
        if task.metric is not None and task.value is not None
    )


class History:
    """The nights of one gate on one branch."""

    def __init__(self, branch: DataBranch, name: str) -> None:
        self._branch = branch
        self._path = f"{name}.jsonl"

    def read(self) -> list[ScheduledRun]:
        """Return all nights, oldest first.

        Raises:
            GitHubError: the branch cannot be read.
            ResultsError: a line is not a night.
        """
        return _parse(self._branch.read(self._path))

    def add(self, night: ScheduledRun) -> list[ScheduledRun]:
        """Add a night, in place of an earlier record of the same invocation; return all of them, oldest first."""
        nights: list[ScheduledRun] = []

        def change(text: str | None) -> str:
            others = [one for one in _parse(text) if one.invocation != night.invocation]
            nights[:] = sorted([*others, night], key=lambda one: one.when)[-KEPT:]
            return "".join(one.model_dump_json(exclude_defaults=True) + "\n" for one in nights)

        self._branch.update(self._path, change, message=f"Record {night.invocation}: {night.verdict}")
        return nights


def _parse(text: str | None) -> list[ScheduledRun]:
    try:
        return [ScheduledRun.model_validate_json(line) for line in (text or "").splitlines() if line.strip()]
    except ValidationError as error:
        msg = f"the history holds a line that is none of ours: {error.errors()[0]['msg']}"
        raise ResultsError(msg, hint="mend or remove the file on the data branch") from error
