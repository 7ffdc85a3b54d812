"""Exporter to files for the `textfile` collector of the Prometheus node exporter."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from nel_action.errors import Problem
from nel_action.exporters.bundle import Bundle
from nel_action.exporters.interface import Change, CommonSettings, Exported, ExportError, ExportOutcome
from nel_action.exporters.records import records_of
from nel_action.files import write_atomically

__all__ = ["EXPORTER", "PrometheusExporter", "PrometheusSettings"]


class PrometheusSettings(CommonSettings):
    """Options of `export.prometheus`; validated like the rest of a spec."""

    directory: str
    """Folder that the collector reads (`--collector.textfile.directory`)."""


class PrometheusExporter:
    """Exports one file per model; equal results give equal files."""

    name = "prometheus"
    settings = PrometheusSettings

    def check(self, settings: PrometheusSettings, environ: Mapping[str, str]) -> Sequence[Problem]:  # noqa: ARG002
        """Return a problem if the folder does not exist."""
        if Path(settings.directory).is_dir():
            return []
        return [Problem(f"no such folder: {settings.directory}", hint="set export.prometheus.directory")]

    def export(self, bundle: Bundle, settings: PrometheusSettings, environ: Mapping[str, str]) -> ExportOutcome:  # noqa: ARG002
        """Update the files of the models of one invocation.

        Raises:
            ExportError: a file is not writable.
        """
        models = dict.fromkeys(task.model for task in bundle.results.tasks)
        items = tuple(_write(bundle, settings, model) for model in models)
        return ExportOutcome(destination=self.name, items=items)


def _write(bundle: Bundle, settings: PrometheusSettings, model: str) -> Exported:
    name = "".join(letter if letter.isalnum() else "_" for letter in model)
    path = Path(settings.directory) / f"nel_action_{name}.prom"
    text = "\n".join(["# TYPE nel_action_score gauge", *_lines(bundle, settings, model), ""])
    try:
        before = path.read_text(encoding="utf-8") if path.exists() else None
        if before != text:
            write_atomically(path, text.encode())
    except OSError as error:
        msg = f"cannot write {path}: {error.strerror}"
        raise ExportError(msg) from error
    change = Change.CREATED if before is None else Change.UNCHANGED if before == text else Change.UPDATED
    return Exported(model, change, str(path))


def _lines(bundle: Bundle, settings: PrometheusSettings, model: str) -> Iterator[str]:
    for record in records_of(bundle, settings.log_metrics):
        if record.task.model == model:
            labels = {"task": record.task.task, "model": model, "metric": record.score.metric}
            quoted = ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items())
            yield f"nel_action_score{{{quoted}}} {record.score.value}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")


EXPORTER = PrometheusExporter()
