"""CSV and Parquet files: one row for each metric of each job."""

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


def merge_csv(old: bytes | None, bundle: Bundle, wanted: Sequence[str]) -> tuple[bytes, dict[str, Change]]:
    """Replace the rows of this invocation's jobs; the columns that people added stay.

    Raises:
        ValueError: `old` is not such a file.
    """
    reader = csv.DictReader(io.StringIO(old.decode() if old is not None else "", newline=""))
    columns = list(reader.fieldnames or COLUMNS)
    if missing := sorted({"job_id", "metric"} - set(columns)):
        msg = f"no column {missing[0]}"
        raise ValueError(msg)
    columns += [name for name in COLUMNS if name not in columns]
    new = [{name: _cell(name, value) for name, value in row.items()} for row in _rows(bundle, wanted)]
    rows, changes = _merge(list(reader), new, bundle)
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode(), changes


def merge_parquet(old: bytes | None, bundle: Bundle, wanted: Sequence[str]) -> tuple[bytes, dict[str, Change]]:
    """Replace the rows of this invocation's jobs; one typed column for each of `COLUMNS`.

    Raises:
        ValueError: `old` is not such a file.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    def kind(name: str) -> pa.DataType:
        return pa.float64() if name in NUMBERS else pa.int64() if name == "n" else pa.string()

    schema = pa.schema([(name, kind(name)) for name in COLUMNS])
    known = pq.read_table(io.BytesIO(old), schema=schema).to_pylist() if old is not None else []
    rows, changes = _merge(known, _rows(bundle, wanted), bundle)
    if old is not None and set(changes.values()) == {Change.UNCHANGED}:
        return old, changes
    out = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=schema), out)
    return out.getvalue(), changes


def _rows(bundle: Bundle, wanted: Sequence[str]) -> list[Row]:
    rows = [_row(bundle, record) for record in records_of(bundle, wanted)]
    # NOTE: a job that gave nothing has a row too: a benchmark that is missing from a table is seldom missed.
    empty = [task for task in bundle.results.tasks if not task.scores]
    return rows + [_origin(bundle, task) for task in empty]


def _origin(bundle: Bundle, task: TaskResult) -> Row:
    known: Row = {**provenance(bundle, task), "timestamp": bundle.results.created}
    known["params"] = json.dumps(task.params, sort_keys=True, ensure_ascii=False) if task.params else None
    known["links"] = " ".join(link.url for link in bundle.metadata.links) or None
    return {name: known.get(name) for name in COLUMNS}


def _row(bundle: Bundle, record: Record) -> Row:
    judged = record.verdict
    compared = judged.comparison if judged else None
    bounds = compared.interval if compared else None
    return {
        **_origin(bundle, record.task),
        "metric": record.score.metric,
        "value": record.score.value,
        "stderr": record.score.stderr,
        "n": record.score.n,
        "verdict": judged.verdict.value if judged else None,
        "baseline": compared.baseline if compared else None,
        "difference": compared.difference if compared else None,
        "interval_low": bounds.low if bounds else None,
        "interval_high": bounds.high if bounds else None,
    }


def _merge(known: list[Row], new: list[Row], bundle: Bundle) -> tuple[list[Row], dict[str, Change]]:
    """Put new rows in the place of those with the same job and metric, and drop what a job no longer has."""
    jobs = {task.job_id for task in bundle.results.tasks}
    coming = {(row["job_id"], row["metric"]): row for row in new}
    merged, touched = [], set()
    for row in known:
        key = (row["job_id"], row["metric"])
        if key in coming:
            updated = row | coming.pop(key)
            touched |= {key[0]} if updated != row else set()
            merged.append(updated)
        elif row["job_id"] in jobs:
            touched.add(key[0])
        else:
            merged.append(row)
    touched |= {key[0] for key in coming}
    before = {row["job_id"] for row in known}
    changes = {
        job: Change.UNCHANGED if job not in touched else Change.UPDATED if job in before else Change.CREATED
        for job in sorted(jobs)
    }
    return merged + list(coming.values()), changes


def _cell(name: str, value: object) -> str:
    """Write a cell; text that a spreadsheet would take for a formula gets an apostrophe in front."""
    if value is None:
        return ""
    text = str(value)
    return f"'{text}" if name not in NUMBERS and text.startswith(_FORMULA) else text
