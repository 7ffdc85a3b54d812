"""CSV and Parquet files of the local exporter: one row per metric and job."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Sequence
from typing import Any, Final

from nel_action.exporters.bundle import Bundle
from nel_action.exporters.interface import Change
from nel_action.exporters.records import Record, provenance, records_of
from nel_action.model.results import TaskResult

__all__ = ["merge_csv", "merge_parquet"]

COLUMNS: Final = (
    "invocation_id",
    "job_id",
    "key",
    "timestamp",
    "task",
    "model",
    "metric",
    "value",
    "stderr",
    "n",
    "outcome",
    "verdict",
    "baseline",
    "difference",
    "interval_low",
    "interval_high",
    "harness",
    "harness_version",
    "task_version",
    "image",
    "executor",
    "repository",
    "commit",
    "pull_request",
    "spec_digest",
    "tool_version",
    "gate",
    "task_hash",
    "environment",
    "params",
    "links",
)
NUMBERS: Final = frozenset({"value", "stderr", "baseline", "difference", "interval_low", "interval_high"})
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r")

Row = dict[str, Any]


def merge_csv(old: bytes | None, bundle: Bundle, patterns: Sequence[str]) -> tuple[bytes, dict[str, Change]]:
    """Replace the rows of the invocation's jobs; columns that people added are kept.

    Args:
        old: content of the file; None if there is none.
        bundle: the invocation.
        patterns: `log_metrics`.

    Returns:
        The new content, and the change to each job by job id.

    Raises:
        ValueError: `old` is not a file of this exporter.
    """
    reader = csv.DictReader(io.StringIO(old.decode() if old is not None else "", newline=""))
    columns = list(reader.fieldnames or COLUMNS)
    if missing := sorted({"job_id", "metric"} - set(columns)):
        msg = f"no column {missing[0]}"
        raise ValueError(msg)
    columns += [name for name in COLUMNS if name not in columns]
    new = [{name: _cell(name, value) for name, value in row.items()} for row in _rows(bundle, patterns)]
    rows, changes = _merge(list(reader), new, bundle)
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode(), changes


def merge_parquet(old: bytes | None, bundle: Bundle, patterns: Sequence[str]) -> tuple[bytes, dict[str, Change]]:
    """Replace the rows of the invocation's jobs; the file has one typed column for each of `COLUMNS`.

    Args:
        old: content of the file; None if there is none.
        bundle: the invocation.
        patterns: `log_metrics`.

    Returns:
        The new content, and the change to each job by job id.

    Raises:
        ValueError: `old` is not a file of this exporter.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    def column_type(name: str) -> pa.DataType:
        return pa.float64() if name in NUMBERS else pa.int64() if name == "n" else pa.string()

    schema = pa.schema([(name, column_type(name)) for name in COLUMNS])
    current = pq.read_table(io.BytesIO(old), schema=schema).to_pylist() if old is not None else []
    rows, changes = _merge(current, _rows(bundle, patterns), bundle)
    if old is not None and set(changes.values()) == {Change.UNCHANGED}:
        return old, changes
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), out)
    return out.getvalue(), changes


def _rows(bundle: Bundle, patterns: Sequence[str]) -> list[Row]:
    rows = [_row(bundle, record) for record in records_of(bundle, patterns)]
    # NOTE: a job without scores has a row too, so that a missing benchmark is visible in the table.
    empty = [task for task in bundle.results.tasks if not task.scores]
    return rows + [_origin(bundle, task) for task in empty]


def _origin(bundle: Bundle, task: TaskResult) -> Row:
    fields: Row = {**provenance(bundle, task), "timestamp": bundle.results.created}
    fields["params"] = json.dumps(task.params, sort_keys=True, ensure_ascii=False) if task.params else None
    fields["links"] = " ".join(link.url for link in bundle.metadata.links) or None
    return {name: fields.get(name) for name in COLUMNS}


def _row(bundle: Bundle, record: Record) -> Row:
    verdict = record.verdict
    comparison = verdict.comparison if verdict else None
    interval = comparison.interval if comparison else None
    return {
        **_origin(bundle, record.task),
        "metric": record.score.metric,
        "value": record.score.value,
        "stderr": record.score.stderr,
        "n": record.score.n,
        "verdict": verdict.verdict.value if verdict else None,
        "baseline": comparison.baseline if comparison else None,
        "difference": comparison.difference if comparison else None,
        "interval_low": interval.low if interval else None,
        "interval_high": interval.high if interval else None,
    }


def _merge(current: list[Row], new: list[Row], bundle: Bundle) -> tuple[list[Row], dict[str, Change]]:
    """Replace rows of the same job and metric in place, and remove those that a job no longer has."""
    jobs = {task.job_id for task in bundle.results.tasks}
    pending = {(row["job_id"], row["metric"]): row for row in new}
    merged, changed = [], set()
    for row in current:
        key = (row["job_id"], row["metric"])
        if key in pending:
            updated = row | pending.pop(key)
            changed |= {key[0]} if updated != row else set()
            merged.append(updated)
        elif row["job_id"] in jobs:
            changed.add(key[0])
        else:
            merged.append(row)
    changed |= {key[0] for key in pending}
    existing = {row["job_id"] for row in current}
    changes = {
        job: Change.UNCHANGED if job not in changed else Change.UPDATED if job in existing else Change.CREATED
        for job in sorted(jobs)
    }
    return merged + list(pending.values()), changes


def _cell(name: str, value: object) -> str:
    """Format a cell; an apostrophe is put before text that a spreadsheet would evaluate as a formula."""
    if value is None:
        return ""
    text = str(value)
    return f"'{text}" if name not in NUMBERS and text.startswith(_FORMULA) else text
