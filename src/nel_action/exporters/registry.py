"""Registry of exporters: the built-in ones, and plug-ins by entry point."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

from nel_action.errors import NotFoundError
from nel_action.exporters.interface import Exporter

__all__ = ["exporter_names", "fetch_baseline", "get_exporter"]

GROUP: Final = "nel_action.exporters"
"""Entry-point group of plug-ins."""

BASELINES_GROUP: Final = "nel_action.baselines"
"""Entry-point group of plug-ins that fetch baselines: scheme → a function like `mlflow.baseline.fetch`."""

BUILT_IN: Final = ("local", "gsheets", "mlflow", "wandb")


def exporter_names() -> tuple[str, ...]:
    """Return the names of all exporters, built-in ones first, without importing any."""
    plug_ins = sorted(point.name for point in entry_points(group=GROUP))
    return tuple(dict.fromkeys((*BUILT_IN, *plug_ins)))


def get_exporter(name: str) -> Exporter[Any]:
    """Import an exporter; the library of its destination is imported only when it is used.

    Raises:
        NotFoundError: no exporter has this name.
    """
    match name:
        case "local":
            from nel_action.exporters.local.exporter import LocalExporter

            return LocalExporter()
        case "gsheets":
            from nel_action.exporters.gsheets.exporter import GsheetsExporter

            return GsheetsExporter()
        case "mlflow":
            from nel_action.exporters.mlflow.exporter import MlflowExporter

            return MlflowExporter()
        case "wandb":
            from nel_action.exporters.wandb.exporter import WandbExporter

            return WandbExporter()
    for point in entry_points(group=GROUP, name=name):
        plug_in: Exporter[Any] = point.load()
        return plug_in
    near = get_close_matches(name, exporter_names(), n=1)
    hint = f"did you mean '{near[0]}'?" if near else f"available: {', '.join(exporter_names())}"
    msg = f"no exporter '{name}'"
    raise NotFoundError(msg, hint=hint)


def fetch_baseline(scheme: str, reference: str, home: Path, environ: Mapping[str, str]) -> Path | None:
    """Download the results of a run that a service stores, for `gate.baseline: <scheme>:<reference>`.

    Args:
        scheme: name of the service: `mlflow`, or that of a plug-in.
        reference: ID of the run at the service.
        home: `$NEL_ACTION_HOME`; the results are stored below it.
        environ: source of the service's address and credentials.

    Returns:
        The directory of the results; None if nothing fetches baselines of that scheme, or the run has none.

    Raises:
        NotFoundError: the service has no such run.
        MissingExtraError: the service's library is not installed.
        ExportError: the service does not answer, or denies access.
    """
    if scheme == "mlflow":
        from nel_action.exporters.mlflow.baseline import fetch

        return fetch(reference, home, environ)
    for point in entry_points(group=BASELINES_GROUP, name=scheme):
        directory: Path | None = point.load()(reference, home, environ)
        return directory
    return None
