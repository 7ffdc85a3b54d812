"""A row for each job: the columns that it has and what stands in them."""

from __future__ import annotations

import json
from typing import Final

from nel_action.exporters.bundle import Bundle
from nel_action.exporters.interface import CommonSettings
from nel_action.exporters.records import records_of, verdict_of
from nel_action.model.results import TaskResult

__all__ = ["KEY", "Cell", "GsheetsSettings", "rows_of"]

KEY: Final = "Job ID"
"""Column that rows are found again by."""

Cell = str | float | None


class GsheetsSettings(CommonSettings):
    """`export.gsheets`."""

    spreadsheet_id: str | None = None
    """The long word in the sheet's address."""
    spreadsheet_name: str = "NeMo Evaluator Launcher Results"
    """The sheet's title, where no id is given; found among those that the account can see, and made where it is not
    there. The title that is the default is that of the Launcher's own exports."""
    share_with: tuple[str, ...] = ()
    """Addresses of people who may write a sheet that was made: it belongs to the account."""
    worksheet: str | None = None
    """Name of the tab; the first one unless said. Made where it is not there."""
    service_account_file: str | None = None
    """JSON key of a service account."""
    service_account_env: str = "GOOGLE_SERVICE_ACCOUNT_JSON"
    """Name of the variable that holds such a key's text; with `_FILE` at its end, the path of a mounted one."""
    oauth_file: str | None = None
    """JSON of an authorised user, as `gcloud` and gspread write it, or of a client whose `authorized_user.json` lies
    beside it."""


def rows_of(bundle: Bundle, settings: GsheetsSettings) -> list[dict[str, Cell]]:
    """Lay out a row for each job, by column; the metrics that `log_metrics` lets through have columns of their own."""
    return [_row(bundle, settings, task) for task in bundle.results.tasks]


def _row(bundle: Bundle, settings: GsheetsSettings, task: TaskResult) -> dict[str, Cell]:
    results, metadata = bundle.results, bundle.metadata
    judged = verdict_of(bundle, task)
    compared = judged.comparison if judged else None
    row: dict[str, Cell] = {
        "Model Name": task.model,
        "Task Name": task.task,
        "Invocation ID": results.invocation,
        KEY: task.job_id,
        "Executor": metadata.executor,
        "Created": results.created,
        "Outcome": task.outcome.value,
        "Verdict": judged.verdict.value if judged else None,
        "Baseline": compared.baseline if compared else None,
        "Difference": compared.difference if compared else None,
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
