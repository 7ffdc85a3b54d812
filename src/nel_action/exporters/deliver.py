"""One run directory to one destination, with the options of the run's own spec."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nel_action.errors import Problem, ResultsError, SpecError
from nel_action.exporters.bundle import load_bundle
from nel_action.exporters.interface import Change, Exported, ExportOutcome
from nel_action.exporters.send import send, variables
from nel_action.model.env_ref import parse_references

__all__ = ["automatic", "deliver", "read_yaml"]


def deliver(
    run_dir: Path, destination: str, environ: Mapping[str, str], options: Mapping[str, Any] | None = None
) -> ExportOutcome:
    """Send what is in a run directory; sending it twice changes nothing.

    Args:
        run_dir: with `results.json`, and `spec.yaml` where it has one.
        destination: the exporter's name.
        environ: where credentials come from.
        options: over those of the spec's `export.<destination>`.

    Raises:
        NotFoundError: there is no such exporter.
        SpecError: the options are wrong; nothing was sent.
    """
    spec = _spec(run_dir)
    wanted = spec.get("export") or {}
    try:
        bundle = load_bundle(run_dir)
    except ResultsError as error:
        # NOTE: one run without results is said, counted as a failure, and does not keep the others from going.
        failed = Exported(run_dir.name, Change.FAILED, None, str(error))
        return ExportOutcome(destination=destination, items=(failed,))
    try:
        named = parse_references({**(spec.get("env_vars") or {}), **(wanted.get("env_vars") or {})})
    except ValueError as error:
        raise SpecError([Problem(f"{run_dir / 'spec.yaml'}: env_vars: {error}")]) from error
    merged = {**(wanted.get(destination) or {}), **(options or {})}
    return send([bundle], destination, merged, variables(named, environ))


def automatic(run_dir: Path) -> tuple[str, ...]:
    """Return where the run's spec wants results sent by themselves (`execution.auto_export.destinations`)."""
    wanted = (_spec(run_dir).get("execution") or {}).get("auto_export") or {}
    return tuple(str(name) for name in wanted.get("destinations") or ())


def _spec(run_dir: Path) -> dict[str, Any]:
    path = run_dir / "spec.yaml"
    return read_yaml(path) if path.exists() else {}


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a mapping; anything else counts as an empty one.

    Raises:
        SpecError: the file is not YAML.
    """
    import yaml

    try:
        data = yaml.safe_load(path.read_bytes())
    except yaml.YAMLError as error:
        raise SpecError([Problem(f"{path} is not YAML: {' '.join(str(error).split())}")]) from error
    return data if isinstance(data, dict) else {}
