"""Names of the files in a run directory; see `docs/results.md`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

__all__ = ["JobFiles", "RunFiles"]


@dataclass(frozen=True, slots=True)
class JobFiles:
    """Paths below the directory of one job."""

    root: Path

    ARTIFACTS: ClassVar = "artifacts"
    LOGS: ClassVar = "logs"
    COLLECTED: ClassVar = "collected.json"

    @property
    def artifacts(self) -> Path:
        """Result files of the harness."""
        return self.root / self.ARTIFACTS

    @property
    def logs(self) -> Path:
        """Logs of the harness, the model server and the executor."""
        return self.root / self.LOGS

    @property
    def collected(self) -> Path:
        """Marker that names the attempt whose artifacts are complete."""
        return self.root / self.COLLECTED


@dataclass(frozen=True, slots=True)
class RunFiles:
    """Paths below the run directory of one invocation."""

    root: Path

    SPEC: ClassVar = "spec.yaml"
    PLAN: ClassVar = "plan.json"
    INVOCATION: ClassVar = "invocation.json"
    RESULTS: ClassVar = "results.json"
    GATE: ClassVar = "gate.json"
    REPORT_MARKDOWN: ClassVar = "report.md"
    REPORT_HTML: ClassVar = "report.html"
    JUNIT: ClassVar = "junit.xml"
    SAMPLES: ClassVar = "samples"

    @property
    def spec(self) -> Path:
        """The resolved spec; secrets by name only."""
        return self.root / self.SPEC

    @property
    def plan(self) -> Path:
        """The jobs and their keys."""
        return self.root / self.PLAN

    @property
    def invocation(self) -> Path:
        """Id, executor, attempts and states."""
        return self.root / self.INVOCATION

    @property
    def results(self) -> Path:
        """Scores and provenance."""
        return self.root / self.RESULTS

    @property
    def gate(self) -> Path:
        """The verdict and its reasons."""
        return self.root / self.GATE

    @property
    def report_markdown(self) -> Path:
        """The report as Markdown."""
        return self.root / self.REPORT_MARKDOWN

    @property
    def report_html(self) -> Path:
        """The report as one self-contained page."""
        return self.root / self.REPORT_HTML

    @property
    def junit(self) -> Path:
        """The verdicts as JUnit XML."""
        return self.root / self.JUNIT

    @property
    def samples(self) -> Path:
        """Folder of the per-item outcomes, one gzipped JSON-lines file per task."""
        return self.root / self.SAMPLES

    def job(self, name: str) -> JobFiles:
        """Return the paths of the job with that name."""
        return JobFiles(self.root / name)
