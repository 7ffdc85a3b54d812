"""`nel-action requests`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

import click

from nel_action.cli.common import select_jobs, session, task_option
from nel_action.errors import NotFoundError

__all__ = ["requests"]

_EXCERPT = 60


@click.command()
@click.argument("invocation")
@task_option
@click.option("--failed", is_flag=True, help="Only answers that no harness can use (malformed, or without text).")
@click.option("--json", "as_json", is_flag=True, help="Print complete entries as JSON lines.")
def requests(*, invocation: str, tasks: tuple[str, ...], failed: bool, as_json: bool) -> int:
    """List the recorded requests of an INVOCATION; `<invocation>.<n>` selects one job."""
    from nel_action.executors.interface import Recording
    from nel_action.report.text_table import single_line

    with session(invocation) as opened:
        if not isinstance(opened.executor, Recording):
            msg = f"{opened.invocation.id} has no record: executor {opened.invocation.executor} keeps none"
            raise NotFoundError(msg)
        count = 0
        for view in select_jobs(opened, invocation, tasks):
            if view.submitted is None or view.job.gateway is None:
                continue
            for line in opened.executor.record_lines(view.submitted.backend_attempt, failed=failed):
                count += 1
                # NOTE: prompts and answers are untrusted and must not control the terminal.
                entry = json.loads(line)
                text = json.dumps({"task": view.job.name, **entry}) if as_json else _summary(entry)
                click.echo(text if as_json else single_line(f"{view.job.name} | {text}"))
        if not count and not as_json:
            click.echo("no recorded requests", err=True)
    return 0


def _summary(entry: Mapping[str, Any]) -> str:
    """Return one line about an entry: time, status, latency, tokens, flags and the beginning of the question."""
    moment = datetime.fromtimestamp(entry["time"], UTC).strftime("%Y-%m-%d %H:%M:%S")
    usage = entry.get("usage") or {}
    tokens = f"{usage.get('prompt_tokens', '?')}+{usage.get('completion_tokens', '?')} tokens"
    flags = [*entry.get("flags", ()), *(["malformed"] if entry.get("malformed") else [])]
    fields = [moment, str(entry["status"]), f"{entry['latency']:.2f} s", tokens, ",".join(flags) or "text"]
    return "  ".join([*fields, entry["key"][:12], f"#{entry['number']}", next(_texts(entry.get("request")), "")])


def _texts(request: Any) -> Iterator[str]:  # noqa: ANN401 any JSON
    """Yield the beginning of the last message or of the prompt of a request."""
    if isinstance(request, Mapping):
        messages = request.get("messages")
        last = messages[-1] if isinstance(messages, list) and messages else {}
        text = last.get("content") if isinstance(last, Mapping) else None
        text = text if text is not None else request.get("prompt")
        if text is not None:
            yield " ".join(str(text).split())[:_EXCERPT]
