"""Publication of verdicts, progress and errors: check, comment, summary, annotations, outputs.

Publishing never changes a verdict. A refused request becomes a warning that contains the fix, and its channel is not
used again; the other channels are. Only whether an open check exists has a consequence: without one, no later process
can conclude the gate.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, TypeVar

from nel_action.errors import ExitCode, Location, NelActionError, Problem
from nel_action.gating.verdict import Verdict
from nel_action.github.check import OUTPUT_LIMIT, Annotation, Check, Conclusion, conclusion_of
from nel_action.github.errors import GitHubError, PermissionRefusedError, describe_write_error
from nel_action.github.rendering import progress_table, progress_title
from nel_action.github.sticky import CommentMode, StickyComment, should_comment
from nel_action.github.workflow import SUMMARY_LIMIT, Level, Workflow
from nel_action.report import escape
from nel_action.report.markdown import render_markdown
from nel_action.report.model import Report
from nel_action.report.progress import JobRow

__all__ = ["Publisher", "Ticker", "redact_report"]

CHECK_INTERVAL: Final = 30.0
"""Seconds between two progress updates of the check."""
PROBLEMS_LIMIT: Final = 60_000
"""Characters of all problems together; less than a comment or a check accepts, because of the text around them."""
LOG_ANNOTATIONS: Final = 10
"""Annotations that are also written to the step's log."""
Done = TypeVar("Done")

logger = logging.getLogger(__name__)


class Ticker:
    """Limits an action to once per interval."""

    def __init__(self, interval: float) -> None:
        self._interval = interval
        self._last = float("-inf")

    def due(self) -> bool:
        """Return whether the interval has passed, and if so, start the next one."""
        now = time.monotonic()
        if now - self._last < self._interval:
            return False
        self._last = now
        return True


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
        title: str = "",
    ) -> None:
        """Combine channels.

        Args:
            workflow: log, annotations, summary and outputs of the step.
            check: None if it must not or cannot be written.
            comment: None if it must not or cannot be written.
            mode: when a comment is created.
            redact: removes secrets from a text.
            relative: maps a path to one relative to the repository's root.
            title: name of the gate.
        """
        self.title = title or "Benchmark gate"
        """Name of the gate."""
        self._title = escape.text(self.title, limit=120)
        self._workflow = workflow
        self._check = check
        self._comment = comment
        self._mode = mode
        self._redact = redact
        self._relative = relative
        self._ticker = Ticker(CHECK_INTERVAL)
        self._text = ""

    @property
    def check_id(self) -> int | None:
        """Number of the check run; None if there is none."""
        return self._check.id if self._check else None

    def open(self, *, external_id: str, text: str = "", url: str | None = None, summary: str) -> None:
        """Open the check, or store the state of an invocation in it.

        Args:
            external_id: identifies the invocation.
            text: state for later processes.
            url: page that the check links to.
            summary: Markdown.
        """
        self._text = text
        if self._check:
            check = self._check
            title = "waiting for benchmarks"
            self._try_check(
                lambda: check.start(external_id=external_id, title=title, summary=summary, text=text, url=url)
            )

    def conflict(self) -> str | None:
        """Describe another gate that has used the check's name on this commit; None if there is none."""
        conflicts: list[str | None] = [None]
        if self._check:
            check = self._check
            self._try_check(lambda: conflicts.append(check.conflict()))
        return conflicts[-1]

    def keep_state(self, text: str) -> None:
        """Set the state that the open check already contains, so that progress updates preserve it."""
        self._text = text

    def show_progress(self, rows: Sequence[JobRow]) -> None:
        """Update check and comment with the state of the jobs, at a limited rate."""
        # NOTE: redacted before it is escaped, because an escaped secret would not be recognised.
        rows = [replace(row, detail=self._redact(row.detail)) if row.detail else row for row in rows]
        title, table = progress_title(rows), progress_table(rows)
        check, comment = self._check, self._comment
        if check and self._ticker.due():
            self._try_check(lambda: check.update_progress(title=title, summary=table, text=self._text))
        if comment and self._mode is CommentMode.ALWAYS:
            body = f"### {self._title}: {title}\n\n{table}"
            self._try_comment(lambda: comment.update_progress(body))

    def conclude(
        self,
        report: Report,
        code: ExitCode,
        *,
        locate: Callable[[str], Location | None],
        appendix: str = "",
        conclusion: Conclusion | None = None,
    ) -> None:
        """Publish a verdict on all channels.

        Args:
            report: results and verdict.
            code: exit code of the evaluation, which determines the check's conclusion.
            locate: maps a task to the line of its policy.
            appendix: further Markdown for the job's summary.
            conclusion: overrides the conclusion that follows from the code.
        """
        report = redact_report(report, self._redact)
        title = _headline(report)
        annotations = list(_annotations(report, locate))
        final = conclusion or conclusion_of(code)
        if conflict := self.conflict():
            final, title = Conclusion.FAILURE, conflict
            self._workflow.annotate(Level.ERROR, conflict)
        check, comment = self._check, self._comment
        if check and final:
            summary = render_markdown(report, limit=OUTPUT_LIMIT)
            self._try_check(lambda: check.conclude(final, title=title, summary=summary, annotations=annotations))
        if comment and self._mode is not CommentMode.OFF:
            self._try_comment(lambda: self._write_comment(comment, report))
        self._workflow.append_summary(render_markdown(report, limit=SUMMARY_LIMIT * 7 // 8) + "\n" + appendix)
        for annotation in annotations[:LOG_ANNOTATIONS]:
            location = Location(Path(annotation.path), annotation.line)
            level = Level.ERROR if annotation.failure else Level.WARNING
            self._workflow.annotate(level, annotation.message, title=annotation.title, location=location)

    def _write_comment(self, comment: StickyComment, report: Report) -> None:
        # NOTE: an existing comment is always updated, or it would show the verdict of an earlier commit.
        if should_comment(self._mode, report.gate) or comment.exists():
            comment.write(render_markdown(report, limit=comment.max_length))

    def report_error(self, error: NelActionError, *, conclusion: Conclusion = Conclusion.FAILURE) -> None:
        """Publish an error that prevented a verdict.

        Args:
            error: the error.
            conclusion: of the check.
        """
        problems = [self._redacted(problem) for problem in error.problems]
        check, comment = self._check, self._comment
        summary = _describe_problems(problems)
        annotations = [annotation for problem in problems if (annotation := _problem_annotation(problem))]
        if check:
            title = problems[0].message
            self._try_check(lambda: check.conclude(conclusion, title=title, summary=summary, annotations=annotations))
        body = f"### ! {self._title}: no verdict\n\n{summary}\n"
        if comment and self._mode is not CommentMode.OFF:
            self._try_comment(lambda: comment.write(body))
        for problem in problems:
            self._workflow.annotate(Level.ERROR, _with_hint(problem), location=problem.location)
        self._workflow.append_summary(body)

    def _redacted(self, problem: Problem) -> Problem:
        """Return the problem without secrets, located relative to the repository's root."""
        location = problem.location and replace(problem.location, file=self._relative(problem.location.file))
        hint = self._redact(problem.hint) if problem.hint else None
        return Problem(self._redact(problem.message), location, hint)

    def leave_open(self, message: str) -> None:
        """Log that jobs continue without this process; the check stays in progress."""
        self._workflow.log(message)
        self._workflow.append_summary(f"### … {self._title}: still running\n\n{escape.text(message)}\n")

    def set_outputs(self, values: Mapping[str, str]) -> None:
        """Set the step's outputs."""
        self._workflow.set_outputs(values)

    def _try_check(self, write: Callable[[], Done]) -> None:
        if not self._try(write, "check"):
            self._check = None

    def _try_comment(self, write: Callable[[], Done]) -> None:
        if not self._try(write, "comment"):
            self._comment = None

    def _try(self, write: Callable[[], Done], channel: str) -> bool:
        """Write to a channel; annotate an error as a warning, and return whether the channel can be used again."""
        try:
            write()
        except GitHubError as error:
            logger.info("%s not written: %s", channel, error)
            title = f"The {channel} could not be written"
            self._workflow.annotate(Level.WARNING, describe_write_error(error), title=title)
            return not isinstance(error, PermissionRefusedError)
        return True


def redact_report(report: Report, redact: Callable[[str], str]) -> Report:
    """Return the report without secrets in every text that quotes the spec, jobs, backends or this machine.

    Args:
        report: the report.
        redact: removes secrets from a text.
    """
    gate, spec_path = report.gate, report.metadata.spec_path
    verdicts = [task.model_copy(update={"reasons": tuple(map(redact, task.reasons))}) for task in gate.tasks]
    texts: dict[str, Any] = {"reasons": tuple(map(redact, gate.reasons)), "notes": tuple(map(redact, gate.notes))}
    texts |= {"baseline": redact(gate.baseline)} if gate.baseline else {}
    results = [
        task.model_copy(
            update={
                "detail": redact(task.detail) if task.detail else task.detail,
                "params": _redact_values(task.params, redact),
                "command": tuple(map(redact, task.command)),
            }
        )
        for task in report.results.tasks
    ]
    return replace(
        report,
        gate=gate.model_copy(update=texts | {"tasks": tuple(verdicts)}),
        results=report.results.model_copy(update={"tasks": tuple(results)}),
        metadata=replace(report.metadata, spec_path=redact(spec_path) if spec_path else None),
    )


def _redact_values(value: Any, redact: Callable[[str], str]) -> Any:  # noqa: ANN401 - JSON
    """Redact all texts in nested data."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: _redact_values(inner, redact) for key, inner in value.items()}
    return [_redact_values(inner, redact) for inner in value] if isinstance(value, list | tuple) else value


def _headline(report: Report) -> str:
    """Return the title of the check: the verdict, whether it blocks, and the worst reason."""
    verdict, metadata = report.gate.verdict, report.metadata
    claim = f", as claimed by {metadata.claimed_by}" if metadata.claimed_by else ""
    tolerated = ", does not block" if metadata.blocks is False and verdict is not Verdict.PASS else ""
    reason = f": {report.gate.reasons[0]}" if report.gate.reasons else ""
    return f"{verdict.value}{claim}{tolerated}{reason}"


def _annotations(report: Report, locate: Callable[[str], Location | None]) -> Iterable[Annotation]:
    """Yield an annotation at the policy of each task that did not pass."""
    for task in report.gate.tasks:
        location = locate(task.task)
        if task.verdict is Verdict.PASS or location is None:
            continue
        yield Annotation(
            path=str(location.file),
            line=location.line or 1,
            title=f"{task.task}: {task.verdict.value}",
            message="; ".join(task.reasons) or task.verdict.value,
            failure=task.verdict is not Verdict.INCONCLUSIVE,
        )


def _problem_annotation(problem: Problem) -> Annotation | None:
    """Return an annotation, or None for a problem without a line in the repository."""
    if problem.location is None or problem.location.line is None or ".." in problem.location.file.parts:
        return None
    path, line = str(problem.location.file), problem.location.line
    return Annotation(path=path, line=line, title="nel-action", message=_with_hint(problem), failure=True)


def _with_hint(problem: Problem) -> str:
    return f"{problem.message}\n{problem.hint}" if problem.hint else problem.message


def _describe_problems(problems: Sequence[Problem]) -> str:
    """Render as many problems as fit into `PROBLEMS_LIMIT`, none of them truncated, and count the others."""
    texts: list[str] = []
    remaining = PROBLEMS_LIMIT
    for problem in problems:
        texts.append(_describe_problem(problem)[:PROBLEMS_LIMIT])
        remaining -= len(texts[-1]) + 2
        if remaining < 0:
            return "\n\n".join([*(texts[:-1] or texts), f"and {len(problems) - max(1, len(texts) - 1)} more"])
    return "\n\n".join(texts)


def _describe_problem(problem: Problem) -> str:
    location = f"{problem.location}: " if problem.location else ""
    hint = "\n\n" + "\n".join(f"    {line}" for line in problem.hint.splitlines()) if problem.hint else ""
    return f"{escape.text(location + problem.message)}{hint}"
