"""The `mlflow` exporter."""

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

__all__ = ["MlflowExporter"]

Call = tuple[str, Callable[[], tuple[Change, str]]]


class MlflowExporter:
    """Keeps a run for each job under one for the invocation, found again by their tags."""

    name = "mlflow"
    settings = MlflowSettings

    def __init__(self, sleep: Callable[[float], None] = time.sleep) -> None:
        self._sleep = sleep

    def check(self, settings: MlflowSettings, environ: Mapping[str, str]) -> Sequence[Problem]:
        """Say whether there is an address.

        Raises:
            MissingExtraError: the client is not installed.
        """
        if find_spec("mlflow") is None:
            raise MissingExtraError(self.name, "mlflow-skinny")
        uri = _address(settings, environ)
        if not uri:
            return [Problem("no MLflow server: export.mlflow.tracking_uri and MLFLOW_TRACKING_URI are both unset")]
        if urlsplit(uri).password:
            hint = "put them into MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
            return [Problem("export.mlflow.tracking_uri holds credentials", hint=hint)]
        return []

    def export(self, bundle: Bundle, settings: MlflowSettings, environ: Mapping[str, str]) -> ExportOutcome:
        """Send one invocation: the parent first; then each job for itself, so that one failure stays alone."""
        session = Session(_address(settings, environ), settings, environ)
        parent = parent_of(bundle, settings, _spec(bundle) if settings.log_config_params else {})
        calls = list(_calls(bundle, settings, session, parent))
        return ExportOutcome(destination=self.name, items=export_each(calls, sleep=self._sleep))


def _address(settings: MlflowSettings, environ: Mapping[str, str]) -> str:
    """Return the server's address; a word that is none is the name of a variable, as in the Launcher."""
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


def _spec(bundle: Bundle) -> dict[str, Any]:
    import yaml

    path = bundle.run_dir / "spec.yaml"
    data = yaml.safe_load(path.read_bytes()) if path.is_file() else {}
    return data if isinstance(data, dict) else {}
