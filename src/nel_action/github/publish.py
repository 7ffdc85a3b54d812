"""Everything that tells GitHub something: check, comment, summary, annotations, outputs.

Reporting never decides. What GitHub refuses becomes a warning with its remedy, and that channel is not tried
again; the others go on. The one thing that a refusal changes is whether somebody waits on an open check.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

from nel_action.errors import ExitCode, Location, NelActionError, Problem
from nel_action.gating.verdict import Verdict
from nel_action.github.check import Annotation, Check, Conclusion, conclusion_of
from nel_action.github.comment import CommentMode, StickyComment, should_comment
from nel_action.github.errors import GitHubError, PermissionRefusedError, describe_write_error
from nel_action.github.progress import Ticker, progress_table, progress_title
from nel_action.github.workflow import SUMMARY_LIMIT, Level, Workflow
from nel_action.report import escape
from nel_action.report.markdown import render_markdown
from nel_action.report.model import Report
from nel_action.report.progress import JobRow

__all__ = ["Publisher", "redact_report"]

BETWEEN_UPDATES = 30.0
"""Seconds between two updates of the check."""
TROUBLE_LIMIT = 60_000
"""Characters of problems; both a comment and a check take them, with what stands around."""
Done = TypeVar("Done")


class Publisher:
    """The channels of one gate."""

    def __init__(
        self,
        workflow: Workflow,
        *,
        check: Check | None,
        comment: StickyComment | None,
        mode: CommentMode,
        redact: Callable[[str], str] = str,
        relative: Callable[[Path], Path] = Path,
    ) -> None:
        self._workflow = workflow
        self._check = check
        self._comment = comment
        self._mode = mode
        self._redact = redact
        self._relative = relative
        self._ticker = Ticker(BETWEEN_UPDATES)
        self._external_id = ""
        self._text = ""

    @property
    def check_id(self) -> int | None:
        """The open check run, if there is one."""
        return self._check.id if self._check else None

    def open(self, *, external_id: str, text: str = "", url: str | None = None, summary: str) -> None:
        """Open the check, in progress, before anything is spent; or tell it which invocation it is about."""
        self._external_id, self._text = external_id, text
        if self._check:
            check = self._check
            title = "waiting for benchmarks"
            self._try_check(
                lambda: check.start(external_id=external_id, title=title, summary=summary, text=text, url=url)
            )

    def keep(self, external_id: str, text: str) -> None:
        """Remember what the open check says of itself, so that showing progress does not lose it."""
        self._external_id, self._text = external_id, text

    def show_progress(self, rows: Sequence[JobRow]) -> None:
        """Show how things stand, no oftener than GitHub likes."""
        # NOTE: before it is escaped: afterwards a secret in it would not be found.
        rows = [replace(row, detail=self._redact(row.detail)) if row.detail else row for row in rows]
        title, table = progress_title(rows), progress_table(rows)
        check, comment = self._check, self._comment
        if check and self._ticker.due():
            self._try_check(lambda: check.progress(title=title, summary=table, text=self._text))
        if comment and self._mode is CommentMode.ALWAYS:
            body = f"### Benchmark gate: {title}\n\n{table}"
            self._try_comment(lambda: comment.refresh(body))

    def conclude(
        self,
        report: Report,
        code: ExitCode,
        *,
        locate: Callable[[str], Location | None],
        extra: str = "",
        instead: Conclusion | None = None,
    ) -> None:
        """Tell a verdict everywhere.

        Args:
            report: what came out.
            code: what it means.
            locate: from a task to the line of its policy.
            extra: Markdown for the summary: the trend.
            instead: what the check ends with where that is not what the code says.
        """
        report = redact_report(report, self._redact)
        title = _headline(report)
        notes = list(_annotations(report, locate))
        conclusion = instead or conclusion_of(code)
        check, comment = self._check, self._comment
        if check and conclusion:
            summary = render_markdown(report, limit=65_000)
            self._try_check(lambda: check.conclude(conclusion, title=title, summary=summary, notes=notes))
        if comment and self._mode is not CommentMode.OFF:
            self._try_comment(lambda: self._say_in_comment(comment, report))
        self._workflow.append_summary(render_markdown(report, limit=SUMMARY_LIMIT * 7 // 8) + "\n" + extra)
        for note in notes[:10]:
            place = Location(Path(note.path), note.line)
            level = Level.ERROR if note.failure else Level.WARNING
            self._workflow.annotate(level, note.message, title=note.title, location=place)

    def _say_in_comment(self, comment: StickyComment, report: Report) -> None:
        # NOTE: one that is there is kept true, or yesterday's news would stand for today's.
        if should_comment(self._mode, report.gate) or comment.exists():
            comment.show(render_markdown(report, limit=comment.room))

    def report_error(self, error: NelActionError, *, conclusion: Conclusion = Conclusion.FAILURE) -> None:
        """Tell what kept the gate from an answer."""
        problems = [self._told(problem) for problem in error.problems]
        check, comment = self._check, self._comment
        summary = _all_said(problems)
        notes = [note for problem in problems if (note := _note(problem))]
        if check:
            self._try_check(lambda: check.conclude(conclusion, title=problems[0].message, summary=summary, notes=notes))
        if comment and self._mode is not CommentMode.OFF:
            body = f"### ! Benchmark gate: no answer\n\n{summary}\n"
            self._try_comment(lambda: comment.show(body))
        for problem in problems:
            message = f"{problem.message}\n{problem.hint}" if problem.hint else problem.message
            self._workflow.annotate(Level.ERROR, message, location=problem.location)
        self._workflow.append_summary(f"### ! Benchmark gate: no answer\n\n{summary}\n")

    def _told(self, problem: Problem) -> Problem:
        """Return it without secrets, at its place in the repository and not in the folder that we work in."""
        place = problem.location and replace(problem.location, file=self._relative(problem.location.file))
        hint = self._redact(problem.hint) if problem.hint else None
        return Problem(self._redact(problem.message), place, hint)

    def leave_open(self, message: str) -> None:
        """Say that the jobs go on without us; the check stays in progress."""
        self._workflow.say(message)
        self._workflow.append_summary(f"### … Benchmark gate: still running\n\n{escape.text(message)}\n")

    def set_outputs(self, values: Mapping[str, str]) -> None:
        """Set the step's outputs."""
        self._workflow.set_outputs(values)

    def _try_check(self, act: Callable[[], Done]) -> None:
        if not self._try(act, "check"):
            self._check = None

    def _try_comment(self, act: Callable[[], Done]) -> None:
        if not self._try(act, "comment"):
            self._comment = None

    def _try(self, act: Callable[[], Done], what: str) -> bool:
        """Act; on a refusal warn, and say whether the channel is worth another try."""
        try:
            act()
        except PermissionRefusedError as error:
            self._warn(what, error)
            return False
        except GitHubError as error:
            self._warn(what, error)
        return True

    def _warn(self, what: str, error: GitHubError) -> None:
        self._workflow.annotate(Level.WARNING, describe_write_error(error), title=f"The {what} could not be written")


def redact_report(report: Report, redact: Callable[[str], str]) -> Report:
    """Return the report with no secret in what jobs and backends said: reasons, notes, details."""
    gate = report.gate
    judged = [one.model_copy(update={"reasons": tuple(map(redact, one.reasons))}) for one in gate.tasks]
    said = {"reasons": tuple(map(redact, gate.reasons)), "notes": tuple(map(redact, gate.notes))}
    seen = [
        one.model_copy(update={"detail": redact(one.detail) if one.detail else one.detail})
        for one in report.results.tasks
    ]
    return replace(
        report,
        gate=gate.model_copy(update=said | {"tasks": tuple(judged)}),
        results=report.results.model_copy(update={"tasks": tuple(seen)}),
    )


def _headline(report: Report) -> str:
    reason = f": {report.gate.reasons[0]}" if report.gate.reasons else ""
    return f"{report.gate.verdict.value}{reason}"


def _annotations(report: Report, locate: Callable[[str], Location | None]) -> Iterable[Annotation]:
    """Make one for each task with bad news, beside the line of its policy."""
    for task in report.gate.tasks:
        place = locate(task.task)
        if task.verdict is Verdict.PASS or place is None:
            continue
        yield Annotation(
            path=str(place.file),
            line=place.line or 1,
            title=f"{task.task}: {task.verdict.value}",
            message="; ".join(task.reasons) or task.verdict.value,
            failure=task.verdict is not Verdict.INCONCLUSIVE,
        )


def _note(problem: Problem) -> Annotation | None:
    if problem.location is None or problem.location.line is None or ".." in problem.location.file.parts:
        return None
    message = f"{problem.message}\n{problem.hint}" if problem.hint else problem.message
    path, line = str(problem.location.file), problem.location.line
    return Annotation(path=path, line=line, title="nel-action", message=message, failure=True)


def _all_said(problems: Sequence[Problem]) -> str:
    """Say as many as there is room for, each whole, and how many more there are."""
    said: list[str] = []
    room = TROUBLE_LIMIT
    for problem in problems:
        said.append(_said(problem)[:TROUBLE_LIMIT])
        room -= len(said[-1]) + 2
        if room < 0:
            return "\n\n".join([*(said[:-1] or said), f"and {len(problems) - max(1, len(said) - 1)} more"])
    return "\n\n".join(said)


def _said(problem: Problem) -> str:
    place = f"{problem.location}: " if problem.location else ""
    hint = "\n\n" + "\n".join(f"    {line}" for line in problem.hint.splitlines()) if problem.hint else ""
    return f"{escape.text(place + problem.message)}{hint}"
