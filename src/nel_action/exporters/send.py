"""Sending bundles to a destination: options checked, busy destinations tried again, nothing swallowed."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nel_action.errors import NelActionError, Problem, SecretError, SpecError
from nel_action.exporters.bundle import Bundle
from nel_action.exporters.interface import (
    Change,
    CommonSettings,
    Exported,
    Exporter,
    ExportOutcome,
    MissingExtraError,
)
from nel_action.exporters.records import unmatched
from nel_action.exporters.registry import exporter_named, settings_from
from nel_action.exporters.retry import retried
from nel_action.model.env_ref import EnvRef, EnvSource

__all__ = ["send", "variables"]


def send(
    bundles: Sequence[Bundle],
    destination: str,
    options: Mapping[str, Any],
    environ: Mapping[str, str],
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> ExportOutcome:
    """Send bundles one by one; what could not be sent is in the outcome, with its reason.

    Raises:
        NotFoundError: there is no such exporter.
        SpecError: the options are wrong, or no metric answers to any of `log_metrics`; nothing was sent.
        MissingExtraError: its library is not installed; nothing was sent.
    """
    exporter = exporter_named(destination)
    settings = settings_from(exporter, options)
    problems = exporter.check(settings, environ)
    if problems:
        raise SpecError(problems)
    notes = tuple(f"log_metrics: no metric answers to '{one}'" for one in unmatched(bundles, settings.log_metrics))
    if notes and len(notes) == len(settings.log_metrics):
        raise SpecError([Problem(note) for note in notes])
    sent = [_send_one(exporter, bundle, settings, environ, sleep) for bundle in bundles]
    items = tuple(item for one in sent for item in one.items)
    return ExportOutcome(
        destination=destination, items=items, notes=notes + tuple(note for one in sent for note in one.notes)
    )


def _send_one(
    exporter: Exporter[Any],
    bundle: Bundle,
    settings: CommonSettings,
    environ: Mapping[str, str],
    sleep: Callable[[float], None],
) -> ExportOutcome:
    try:
        return retried(lambda: exporter.export(bundle, settings, environ), sleep=sleep)
    except MissingExtraError:
        raise
    except NelActionError as error:
        failed = Exported(bundle.results.invocation, Change.FAILED, None, str(error))
        return ExportOutcome(destination=exporter.name, items=(failed,))


def variables(references: Mapping[str, EnvRef], environ: Mapping[str, str]) -> dict[str, str]:
    """Resolve `host:NAME`, `runtime:NAME` and `lit:VALUE` on top of the environment.

    Raises:
        SecretError: a variable that is named is not set.
    """
    resolved = dict(environ)
    for name, reference in references.items():
        value = reference.value
        if reference.source is EnvSource.LITERAL:
            resolved[name] = value
        elif value in environ:
            resolved[name] = environ[value]
        else:
            msg = f"export needs {name}, but {value} is not set"
            raise SecretError(msg, hint=f"set {value}, or take {name} out of env_vars")
    return resolved
