"""Samples files of lm-evaluation-harness: one line per document and filter, the lines of each filter in sequence.

A file is streamed twice and never held in memory: `scan_samples` counts and sums, `read_samples` joins the lines that
different filters have for one document.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nel_action.errors import ResultsError
from nel_action.formats.parsing import TRUNCATED, parse_float, read_json_lines, schema_guard, truncate_text
from nel_action.model.results import Sample

__all__ = ["MetricSummary", "SamplesFile", "read_samples", "scan_samples"]


@dataclass(frozen=True, slots=True)
class MetricSummary:
    """Count and sum of one metric over documents."""

    count: int = 0
    """Documents that have the metric, whatever its value."""
    total: float = 0.0
    """Sum of the finite values."""
    all_finite: bool = True

    def __add__(self, other: MetricSummary) -> MetricSummary:
        return MetricSummary(self.count + other.count, self.total + other.total, self.all_finite and other.all_finite)

    @property
    def mean(self) -> float:
        """Mean over the documents that have the metric."""
        return self.total / self.count


@dataclass(frozen=True, slots=True, kw_only=True)
class SamplesFile:
    """A scanned samples file of one task."""

    task: str
    path: Path
    effective: int
    """Items that lm-eval reports to have evaluated."""
    original: int
    """Items of the data set."""
    offsets: Mapping[str, int]
    """Position of each filter's first line, in bytes."""
    documents: int
    """Lines of each filter."""
    summaries: Mapping[str, MetricSummary]
    """By `metric,filter`."""
    generated: int
    """Documents answered with text."""
    empty: int
    """Documents of these whose answers are all empty."""


@dataclass(slots=True)
class _Scan:
    """Counts that grow with each line."""

    offsets: dict[str, int] = field(default_factory=dict)
    lines: Counter[str] = field(default_factory=Counter)
    summaries: dict[str, MetricSummary] = field(default_factory=dict)
    generated: int = 0
    empty: int = 0

    def add(self, record: Mapping[str, Any], offset: int) -> None:
        filter_name = str(record.get("filter"))
        self.offsets.setdefault(filter_name, offset)
        self.lines[filter_name] += 1
        for metric in record.get("metrics") or ():
            key = f"{metric},{filter_name}"
            value = _parse_value(record.get(metric))
            summary = MetricSummary(1, value or 0.0, value is not None)
            self.summaries[key] = self.summaries.get(key, MetricSummary()) + summary
        if len(self.offsets) == 1 and (answers := _answers(record)):
            self.generated += 1
            self.empty += not any(answer.strip() for answer in answers)


def scan_samples(path: Path, task: str, effective: int, original: int) -> SamplesFile:
    """Count the documents and sum the metrics of a samples file.

    Args:
        path: the file.
        task: name of its task.
        effective: items that lm-eval reports to have evaluated.
        original: items of the data set.

    Raises:
        ResultsError: the file is truncated, or has fewer documents than were evaluated.
    """
    scan, offset = _Scan(), 0
    with path.open("rb") as raw_lines:
        for (_, record), size in zip(read_json_lines(path), map(len, raw_lines), strict=True):
            scan.add(record, offset)
            offset += size
    documents = max(scan.lines.values(), default=0)
    if documents < effective or len(set(scan.lines.values())) > 1:
        counts = ", ".join(f"{count} of filter {name}" for name, count in scan.lines.items()) or "none"
        msg = f"{path.name} has fewer samples than the {effective} evaluated items: {counts}"
        raise ResultsError(msg, hint=TRUNCATED)
    return SamplesFile(
        task=task,
        path=path,
        effective=effective,
        original=original,
        offsets=scan.offsets,
        documents=documents,
        summaries=scan.summaries,
        generated=scan.generated,
        empty=scan.empty,
    )


def read_samples(files: Sequence[SamplesFile], metrics: Collection[str]) -> Iterator[Sample]:
    """Stream the samples of a task, or of all tasks of a group.

    Args:
        files: the scanned samples files.
        metrics: the metrics to include, as `metric,filter`.

    Raises:
        ResultsError: a line does not have the expected structure.
    """
    with schema_guard(", ".join(file.path.name for file in files)):
        for file in files:
            prefix = f"{file.task}/" if len(files) > 1 else ""
            for sample_id, lines in _identified(file):
                yield _sample(f"{prefix}{sample_id}", lines, metrics)


def _identified(file: SamplesFile) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Yield an id that is stable across runs, and the lines of each document."""
    seen: Counter[str] = Counter()
    for lines in _documents(file):
        digest = str(lines[0].get("doc_hash") or lines[0].get("doc_id"))[:16]
        seen[digest] += 1
        # NOTE: equal documents have equal hashes; they are numbered in the order of the data set.
        yield f"{digest}#{seen[digest]}" if seen[digest] > 1 else digest, lines


def _documents(file: SamplesFile) -> Iterator[list[dict[str, Any]]]:
    """Yield the lines of each document, one per filter, by reading the filters' sections in parallel."""
    with contextlib.ExitStack() as stack:
        handles = [stack.enter_context(file.path.open("rb")) for _ in file.offsets]
        for handle, offset in zip(handles, file.offsets.values(), strict=True):
            handle.seek(offset)
        for _ in range(file.documents):
            lines = [json.loads(handle.readline()) for handle in handles]
            if len({(line.get("doc_id"), line.get("doc_hash")) for line in lines}) > 1:
                msg = f"{file.path.name}: the filters list the documents in different orders"
                raise ResultsError(msg)
            yield lines


def _sample(sample_id: str, lines: Sequence[Mapping[str, Any]], metrics: Collection[str]) -> Sample:
    values = {
        f"{metric},{line['filter']}": _parse_value(line.get(metric)) for line in lines for metric in line["metrics"]
    }
    return Sample(
        id=sample_id,
        scores={metric: value for metric, value in values.items() if value is not None and metric in metrics},
        input=truncate_text(_question(lines[0])),
        output=truncate_text(_output(lines[0])),
        expected=truncate_text(lines[0].get("target")),
    )


def _parse_value(value: object) -> float | None:
    """Return a sample's value as a number; lm-eval writes a correct answer as 1.0 or as true."""
    return float(value) if isinstance(value, bool) else parse_float(value)


def _answers(record: Mapping[str, Any]) -> list[str]:
    """Return the generated texts; none for log-likelihood requests."""
    responses = (record.get("resps") or [[]])[0]
    return [answer for answer in responses if isinstance(answer, str)] if isinstance(responses, list) else []


def _arguments(record: Mapping[str, Any], index: int) -> list[Any]:
    arguments = (record.get("arguments") or {}).get(f"gen_args_{index}") or {}
    return [arguments.get("arg_0"), arguments.get("arg_1")]


def _question(record: Mapping[str, Any]) -> str | None:
    """Return the prompt; of a chat, its last message."""
    prompt = _arguments(record, 0)[0]
    if not (isinstance(prompt, list) and prompt and isinstance(prompt[0], str)):
        return prompt if isinstance(prompt, str) else None
    try:
        content = json.loads(prompt[0])[-1]["content"]
    except (ValueError, LookupError, TypeError):
        return prompt[0]
    return content if isinstance(content, str) else json.dumps(content)


def _output(record: Mapping[str, Any]) -> str | None:
    """Return the answer; of a multiple-choice task, the continuation with the highest likelihood."""
    if answers := _answers(record):
        return answers[0]
    try:
        likelihoods = [float(response[0][0]) for response in record["resps"]]
        choice = _arguments(record, max(range(len(likelihoods)), key=likelihoods.__getitem__))[1]
    except (ValueError, LookupError, TypeError):
        return None
    return choice if isinstance(choice, str) else None
