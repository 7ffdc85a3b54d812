"""MLflow runs as baselines: `gate.baseline: mlflow:<run id>`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path

from nel_action.errors import NotFoundError
from nel_action.exporters.interface import MissingExtraError, retry_busy
from nel_action.exporters.mlflow.content import MlflowSettings
from nel_action.exporters.mlflow.session import Session

__all__ = ["fetch"]


def fetch(reference: str, home: Path, environ: Mapping[str, str]) -> Path | None:
    """Download the results of an MLflow run; return their folder, or None if the run has no results.

    Args:
        reference: id of a run that the exporter created, for an invocation or for one of its jobs.
        home: `$NEL_ACTION_HOME`, where the results are stored.
        environ: variables with the address (MLFLOW_TRACKING_URI) and the credentials of the server.

    Raises:
        NotFoundError: the reference is not a run id, or no server is configured.
        MissingExtraError: the client is not installed.
        ExportError: the run does not exist, or the server does not respond.
    """
    if find_spec("mlflow") is None:
        raise MissingExtraError(destination="mlflow", library="mlflow-skinny")
    if not re.fullmatch(r"[0-9a-f]{32}", reference):
        msg = f"invalid MLflow run id: '{reference}'; a run id has 32 hex digits"
        raise NotFoundError(msg, hint="write gate.baseline: mlflow:<run id>, with the id on the run's page")
    uri = environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        msg = "the baseline is an MLflow run, but MLFLOW_TRACKING_URI is not set"
        raise NotFoundError(msg, hint="set MLFLOW_TRACKING_URI to the address of the server")
    folder = home / "baselines" / f"mlflow-{reference}"
    session = Session(uri, MlflowSettings(), environ)
    return folder if retry_busy(lambda: session.fetch(reference, folder)) else None
