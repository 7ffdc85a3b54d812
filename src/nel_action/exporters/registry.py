"""Registry of exporters: the built-in ones, and plug-ins by entry point."""

from __future__ import annotations

from difflib import get_close_matches
from importlib.metadata import entry_points
from typing import Any, Final

from nel_action.errors import NotFoundError
from nel_action.exporters.interface import Exporter

__all__ = ["exporter_names", "get_exporter"]

GROUP: Final = "nel_action.exporters"
"""Entry-point group of plug-ins."""

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
