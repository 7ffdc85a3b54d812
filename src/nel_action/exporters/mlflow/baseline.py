"""An exported run as a gate's baseline: `gate.baseline: mlflow:<run id>`."""

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
    """Bring the results of an MLflow run to this machine; return their folder, None where the run has none.

    Args:
        reference: the id of a run that the `mlflow` exporter made, of the invocation or of one of its jobs.
        home: `$NEL_ACTION_HOME`; results are kept below it.
        environ: where the server's address (MLFLOW_TRACKING_URI) and credentials come from.

    Raises:
        NotFoundError: it is no run id, or there is no server to ask.
        MissingExtraError: the client is not installed.
        ExportError: there is no such run, or the server does not answer.
    """
    if find_spec("mlflow") is None:
        raise MissingExtraError(destination="mlflow", library="mlflow-skinny")
    if not re.fullmatch(r"[0-9a-f]{32}", reference):
        msg = f"no MLflow run '{reference}': a run's id has 32 hex digits"
        raise NotFoundError(msg, hint="gate.baseline takes mlflow:<run id>, as the run's page shows it")
    uri = environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        msg = "the baseline is an MLflow run, and MLFLOW_TRACKING_URI is not set"
        raise NotFoundError(msg, hint="set it to the server's address")
    folder = home / "baselines" / f"mlflow-{reference}"
    session = Session(uri, MlflowSettings(), environ)
    return folder if retry_busy(lambda: session.fetch(reference, folder)) else None
