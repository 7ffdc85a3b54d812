"""Rows of the Google sheet: one per job, and the options of the exporter."""

from __future__ import annotations

import json
from typing import Final

from nel_action.exporters.bundle import Bundle
from nel_action.exporters.interface import CommonSettings
from nel_action.exporters.records import records_of, verdict_of
from nel_action.model.results import TaskResult

__all__ = ["KEY", "Cell", "GsheetsSettings", "rows_of"]

KEY: Final = "Job ID"
"""Header of the column that identifies a row."""

Cell = str | float | None


class GsheetsSettings(CommonSettings):
    """`export.gsheets`."""

    spreadsheet_id: str | None = None
    """Id in the address of the spreadsheet."""
    spreadsheet_name: str = "NeMo Evaluator Launcher Results"
    """Title of the spreadsheet, used without an id; created if the account sees none with this title. The default is
    the title of the launcher's exports."""
    share_with: tuple[str, ...] = ()
    """E-mail addresses of the editors of a created spreadsheet, which belongs to the account."""
    worksheet: str | None = None
    """Name of the sheet; the first one by default. Created if it does not exist."""
    service_account_file: str | None = None
    """JSON key of a service account."""
    service_account_env: str = "GOOGLE_SERVICE_ACCOUNT_JSON"
    """Variable with the text of such a key; the variable with `_FILE` appended has the path of a mounted key file."""
    oauth_file: str | None = None
    """JSON file of an authorized user, as `gcloud` and gspread write it, or of a client with `authorized_user.json`
    in the same folder."""


def rows_of(bundle: Bundle, settings: GsheetsSettings) -> list[dict[str, Cell]]:
    """Return one row per job, as cells by header; each metric that matches `log_metrics` has its own columns."""
    return [_row(bundle, settings, task) for task in bundle.results.tasks]


def _row(bundle: Bundle, settings: GsheetsSettings, task: TaskResult) -> dict[str, Cell]:
    results, metadata = bundle.results, bundle.metadata
    verdict = verdict_of(bundle, task)
    comparison = verdict.comparison if verdict else None
    row: dict[str, Cell] = {
        "Model Name": task.model,
        "Task Name": task.task,
        "Invocation ID": results.invocation,
        KEY: task.job_id,
        "Executor": metadata.executor,
        "Created": results.created,
        "Outcome": task.outcome.value,
        "Verdict": verdict.verdict.value if verdict else None,
        "Baseline": comparison.baseline if comparison else None,
        "Difference": comparison.difference if comparison else None,
        "Items": task.n_items,
        "Harness": task.harness,
        "Harness Version": task.harness_version,
        "Container": task.image,
        "Repository": results.repository,
        "Commit": results.commit,
        "Pull Request": metadata.pull_request,
        "Seconds": task.seconds,
        "Gate": bundle.gate.verdict.value if bundle.gate else None,
        "Parameters": json.dumps(task.params, sort_keys=True, ensure_ascii=False) if task.params else None,
        "Task Version": task.task_version,
        "Task Digest": task.task_hash,
        "Environment": task.environment,
        "Spec Digest": results.spec_digest,
        "nel-action": results.tool_version,
        "Links": " ".join(link.url for link in metadata.links) or None,
    }
    for record in records_of(bundle, settings.log_metrics):
        if record.task is task:
            metric = record.score.metric
            row |= {metric: record.score.value, f"{metric} stderr": record.score.stderr, f"{metric} n": record.score.n}
    return row
