"""Export results: from a run directory, with the options of its own spec, to one destination at a time."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from nel_action.errors import NelActionError, Problem, ResultsError, SpecError
from nel_action.exporters.bundle import Bundle, load_bundle
from nel_action.exporters.credentials import resolve_variables
from nel_action.exporters.interface import (
    Change,
    CommonSettings,
    Exported,
    Exporter,
    ExportOutcome,
    MissingExtraError,
    retry_busy,
)
from nel_action.exporters.records import unmatched_patterns
from nel_action.exporters.registry import get_exporter
from nel_action.exporters.settings import parse_settings
from nel_action.model.env_ref import EnvRef
from nel_action.model.run_files import RunFiles
from nel_action.spec.base import EnvironmentName
from nel_action.spec.export import Exports

__all__ = [
    "export_bundles",
    "export_run",
    "read_yaml",
]

logger = logging.getLogger(__name__)


class _Spec(BaseModel):
    """The parts of a resolved spec that matter to exports; the rest is ignored, whatever version wrote it."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    env_vars: dict[EnvironmentName, EnvRef] | None = None
    export: Exports | None = None


def export_run(
    run_dir: Path, destination: str, environ: Mapping[str, str], options: Mapping[str, Any] | None = None
) -> ExportOutcome:
    """Export the results in a run directory; exporting them again changes nothing.

    Args:
        run_dir: directory with `results.json`, and with `spec.yaml` if it has one.
        destination: name of the exporter.
        environ: variables that credentials are read from.
        options: options that override those of `export.<destination>` in the spec.

    Returns:
        The outcome per item. A run without readable results is a failed item, not an error, so that the other runs
        are exported.

    Raises:
        NotFoundError: no exporter has this name.
        SpecError: the options are invalid; nothing was sent.
        SecretError: a variable that the spec names is not set; nothing was sent.
    """
    spec = _read_spec(run_dir)
    exports = spec.export or Exports()
    try:
        bundle = load_bundle(run_dir)
    except ResultsError as error:
        failed = Exported(run_dir.name, Change.FAILED, None, str(error))
        return ExportOutcome(destination=destination, items=(failed,))
    variables = resolve_variables({**(spec.env_vars or {}), **exports.env_vars}, environ)
    return export_bundles(
        [bundle], destination, {**(exports.settings(destination) or {}), **(options or {})}, variables
    )


def export_bundles(
    bundles: Sequence[Bundle],
    destination: str,
    options: Mapping[str, Any],
    environ: Mapping[str, str],
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> ExportOutcome:
    """Export bundles one after the other; a failed one is an item of the outcome, with its reason.

    Args:
        bundles: the invocations to export.
        destination: name of the exporter.
        options: options of `export.<destination>`.
        environ: variables that credentials are read from.
        sleep: pauses for that many seconds before another try.

    Raises:
        NotFoundError: no exporter has this name.
        SpecError: the options are invalid, or `log_metrics` matches no metric; nothing was sent.
        MissingExtraError: the exporter's library is not installed; nothing was sent.
    """
    exporter = get_exporter(destination)
    settings = parse_settings(exporter, options)
    problems = exporter.check(settings, environ)
    if problems:
        raise SpecError(problems)
    unmatched = unmatched_patterns(bundles, settings.log_metrics)
    notes = tuple(f"log_metrics: no metric matches '{pattern}'" for pattern in unmatched)
    if notes and len(notes) == len(settings.log_metrics):
        raise SpecError([Problem(note) for note in notes])
    outcomes = [_export_bundle(exporter, bundle, settings, environ, sleep) for bundle in bundles]
    return ExportOutcome(
        destination=destination,
        items=tuple(item for outcome in outcomes for item in outcome.items),
        notes=notes + tuple(note for outcome in outcomes for note in outcome.notes),
    )


def _export_bundle(
    exporter: Exporter[Any],
    bundle: Bundle,
    settings: CommonSettings,
    environ: Mapping[str, str],
    sleep: Callable[[float], None],
) -> ExportOutcome:
    logger.info("exporting invocation %s to %s", bundle.results.invocation, exporter.name)
    try:
        return retry_busy(lambda: exporter.export(bundle, settings, environ), sleep=sleep)
    except MissingExtraError:
        raise
    except NelActionError as error:
        failed = Exported(bundle.results.invocation, Change.FAILED, None, str(error))
        return ExportOutcome(destination=exporter.name, items=(failed,))


def read_yaml(path: Path) -> dict[str, Any]:
    """Read a YAML mapping; other content is returned as an empty one.

    Raises:
        SpecError: the file is not YAML.
    """
    import yaml

    try:
        data = yaml.safe_load(path.read_bytes())
    except yaml.YAMLError as error:
        raise SpecError([Problem(f"{path} is not valid YAML: {' '.join(str(error).split())}")]) from error
    return data if isinstance(data, dict) else {}


def _read_spec(run_dir: Path) -> _Spec:
    path = RunFiles(run_dir).spec
    if not path.exists():
        return _Spec()
    try:
        # NOTE: through JSON, so that a YAML list becomes a tuple although the models are strict.
        return _Spec.model_validate_json(json.dumps(read_yaml(path), default=str))
    except ValidationError as error:
        details = error.errors(include_url=False)[0]
        key = ".".join(str(part) for part in details["loc"])
        raise SpecError([Problem(f"{path}: {key}: {details['msg']}")]) from error
