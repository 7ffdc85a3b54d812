"""Exporter to MLflow."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib.util import find_spec
from typing import Any
from urllib.parse import urlsplit

from nel_action.errors import Problem
from nel_action.exporters.bundle import Bundle
from nel_action.exporters.interface import Change, ExportOutcome, MissingExtraError, export_each
from nel_action.exporters.mlflow.content import MlflowSettings, RunContent, child_of, parent_of
from nel_action.exporters.mlflow.session import Session
from nel_action.model.run_files import RunFiles

__all__ = ["MlflowExporter"]

Call = tuple[str, Callable[[], tuple[Change, str]]]


class MlflowExporter:
    """Exports one run per job below one run per invocation; tags identify the runs."""

    name = "mlflow"
    settings = MlflowSettings

    def __init__(self, sleep: Callable[[float], None] = time.sleep) -> None:
        self._sleep = sleep

    def check(self, settings: MlflowSettings, environ: Mapping[str, str]) -> Sequence[Problem]:
        """Return a problem if there is no address, or if it contains credentials.

        Raises:
            MissingExtraError: the client is not installed.
        """
        if find_spec("mlflow") is None:
            raise MissingExtraError(self.name, "mlflow-skinny")
        uri = _address(settings, environ)
        if not uri:
            return [Problem("no MLflow server: neither export.mlflow.tracking_uri nor MLFLOW_TRACKING_URI is set")]
        if urlsplit(uri).password:
            hint = "set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD instead"
            return [Problem("export.mlflow.tracking_uri contains credentials", hint=hint)]
        return []

    def export(self, bundle: Bundle, settings: MlflowSettings, environ: Mapping[str, str]) -> ExportOutcome:
        """Export the parent run first, then each job on its own, so that a failure affects one job only."""
        session = Session(_address(settings, environ), settings, environ)
        parent = parent_of(bundle, settings, _read_spec(bundle) if settings.log_config_params else {})
        calls = list(_calls(bundle, settings, session, parent))
        return ExportOutcome(destination=self.name, items=export_each(calls, sleep=self._sleep))


def _address(settings: MlflowSettings, environ: Mapping[str, str]) -> str:
    """Return the address of the server; a value that is no address names a variable, as in the launcher."""
    uri = settings.tracking_uri or environ.get("MLFLOW_TRACKING_URI", "")
    return uri if "://" in uri else environ.get(uri, uri)


def _calls(bundle: Bundle, settings: MlflowSettings, session: Session, parent: RunContent) -> Iterator[Call]:
    yield parent.name, partial(session.send, parent)
    for task in bundle.results.tasks:
        child = child_of(bundle, settings, task)
        yield child.name, partial(session.send, child, parent)
        if settings.trend and child.metrics:
            scope = f"{bundle.results.repository or ''}|{task.model}"
            trend = replace(child, name=f"trend · {task.model}", identity=("nel_action.trend", scope), tags={})
            yield f"trend of {task.task}", partial(session.add_step, child, trend)


def _read_spec(bundle: Bundle) -> dict[str, Any]:
    import yaml

    path = RunFiles(bundle.run_dir).spec
    data = yaml.safe_load(path.read_bytes()) if path.is_file() else {}
    return data if isinstance(data, dict) else {}
