"""How the run was made: durations, tokens, cost, versions, digests, commands and history."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Sequence

from nel_action.formatting import MISSING, cost, count, duration
from nel_action.model.results import TaskResult
from nel_action.report.html.element import Safe, breakable, el, join
from nel_action.report.model import Report

__all__ = ["metadata_section"]


def metadata_section(report: Report) -> Safe:
    """Render the metadata of the run, a table of its jobs and a folded part for each job."""
    metadata, results = report.metadata, report.results
    totals = {
        name: sum(task.usage.get(name, 0.0) for task in results.tasks)
        for name in ("prompt_tokens", "completion_tokens", "cost_usd")
    }
    fields = {
        "spec": metadata.spec_path,
        "spec digest": results.spec_digest,
        "run directory": str(metadata.run_dir) if metadata.run_dir else None,
        "executor": metadata.executor,
        "baseline digest": facts.digest if (facts := report.gate.baseline_facts) else None,
        "started": metadata.started,
        "ended": metadata.ended,
        "wall time": duration(metadata.seconds) if metadata.seconds is not None else None,
        "prompt tokens": count(totals["prompt_tokens"]) if totals["prompt_tokens"] else None,
        "completion tokens": count(totals["completion_tokens"]) if totals["completion_tokens"] else None,
        "cost": cost(totals["cost_usd"]) if totals["cost_usd"] else None,
        "nel-action": results.tool_version,
    }
    history = [el("li", el("time", event.when, datetime=event.when), f" {event.text}") for event in metadata.history]
    return el(
        "section",
        el("h2", "How this was run"),
        _fields(fields),
        join(el("h3", "History"), el("ol", *history)) if history else None,
        _jobs(results.tasks),
        *(_job(task) for task in results.tasks),
        id="metadata",
    )


def _jobs(tasks: Sequence[TaskResult]) -> Safe | None:
    """Render a table of the jobs with their durations, tokens and cost."""
    if not tasks:
        return None
    several = len({task.model for task in tasks}) > 1
    titles = ("task", "outcome", "items", "time", "tokens in", "tokens out", "cost", "attempts")
    rows = [
        el(
            "tr",
            el("th", _name(task, several=several), scope="row"),
            *(el("td", value or MISSING) for value in _job_cells(task)),
        )
        for task in tasks
    ]
    head = el("thead", el("tr", *(el("th", title, scope="col") for title in titles)))
    # NOTE: the only part that may be wider than a small screen; it scrolls on its own, by keyboard too.
    return el(
        "div", el("table", head, el("tbody", *rows)), class_="wide", tabindex="0", role="region", aria_label="Jobs"
    )


def _name(task: TaskResult, *, several: bool) -> Safe:
    name = breakable(task.task)
    return join(name, " · ", el("span", breakable(task.model), class_="quiet")) if several else name


def _job_cells(task: TaskResult) -> Iterator[str | None]:
    yield ": ".join(part for part in (task.outcome.value, task.reason) if part)
    yield _items(task)
    yield duration(task.seconds) if task.seconds is not None else None
    for name in ("prompt_tokens", "completion_tokens"):
        yield count(task.usage[name]) if name in task.usage else None
    yield cost(task.usage["cost_usd"]) if "cost_usd" in task.usage else None
    yield str(task.attempts)


def _job(task: TaskResult) -> Safe:
    fields: dict[str, str | None] = {
        "outcome": ": ".join(part for part in (task.outcome.value, task.reason, task.detail) if part),
        "harness": " ".join(part for part in (task.harness, task.harness_version) if part),
        "task version": task.task_version,
        "task digest": task.task_hash,
        "few-shot examples": None if task.n_shot is None else str(task.n_shot),
        "image": task.image,
        "environment": task.environment,
        "items": _items(task),
        "started": task.started,
        "time": duration(task.seconds) if task.seconds is not None else None,
        "attempts": str(task.attempts),
        "job": task.job_id,
        "key": task.key,
        "parameters": ", ".join(f"{name}={value}" for name, value in sorted(task.params.items())),
        **{name.replace("_", " "): f"{value:,.6g}" for name, value in sorted(task.usage.items())},
    }
    command = el("pre", shlex.join(task.command), tabindex="0") if task.command else None
    summary = el("summary", task.task, el("span", f" · {task.model}", class_="quiet"))
    return el("details", summary, _fields(fields), command)


def _items(task: TaskResult) -> str | None:
    if task.n_items is None:
        return None
    expected = f" of {count(task.n_expected)}" if task.n_expected is not None else ""
    return f"{count(task.n_items)}{expected}"


def _fields(fields: dict[str, str | None]) -> Safe:
    return el("dl", *(join(el("dt", name), el("dd", value)) for name, value in fields.items() if value))
