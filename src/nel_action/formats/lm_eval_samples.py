"""lm-eval's samples: one line for each document and filter, all of a filter's lines together.

A file is read twice, line by line: once to count what is in it, once to hand out samples in which the filters of a
document are put together. It is never in memory.
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
from nel_action.formats.parsing import clip, finite, json_lines, shaped
from nel_action.model.results import Sample

__all__ = ["Leaf", "Tally", "stream", "survey"]


@dataclass(frozen=True, slots=True)
class Tally:
    """What the samples have of one metric."""

    items: int = 0
    """Documents that have a value, of whatever kind."""
    total: float = 0.0
    """Sum of the values that are finite numbers."""
    clean: bool = True
    """Whether all of them are."""

    def __add__(self, other: Tally) -> Tally:
        return Tally(self.items + other.items, self.total + other.total, self.clean and other.clean)

    @property
    def mean(self) -> float:
        """Mean over the documents that have a value."""
        return self.total / self.items


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaf:
    """One task, which may be one of a group's, and its samples file."""

    name: str
    path: Path
    effective: int
    """Items that lm-eval says it evaluated."""
    original: int
    """Items that the task has."""
    offsets: Mapping[str, int]
    """Filter → where its lines start, in bytes."""
    documents: int
    """Lines of each filter."""
    tallies: Mapping[str, Tally]
    """`metric,filter` → tally."""
    generated: int
    """Documents that were answered with text."""
    empty: int
    """Those of them whose answers are all empty."""


@dataclass(slots=True)
class _Survey:
    """Counts that grow line by line."""

    offsets: dict[str, int] = field(default_factory=dict)
    lines: Counter[str] = field(default_factory=Counter)
    tallies: dict[str, Tally] = field(default_factory=dict)
    generated: int = 0
    empty: int = 0

    def add(self, line: Mapping[str, Any], offset: int) -> None:
        kind = str(line.get("filter"))
        if kind not in self.offsets:
            self.offsets[kind] = offset
        self.lines[kind] += 1
        for metric in line.get("metrics") or ():
            name = f"{metric},{kind}"
            value = number(line.get(metric))
            self.tallies[name] = self.tallies.get(name, Tally()) + Tally(1, value or 0.0, value is not None)
        if len(self.offsets) == 1 and (answers := _answers(line)):
            self.generated += 1
            self.empty += not any(answer.strip() for answer in answers)


def survey(path: Path, name: str, effective: int, original: int) -> Leaf:
    """Count what is in a samples file.

    Raises:
        ResultsError: it is truncated, or has other documents than lm-eval says it evaluated.
    """
    counts, offset = _Survey(), 0
    with path.open("rb") as raw:
        for line, size in zip(json_lines(path), map(len, raw), strict=True):
            counts.add(line[1], offset)
            offset += size
    documents = max(counts.lines.values(), default=0)
    if documents < effective or len(set(counts.lines.values())) > 1:
        lines = ", ".join(f"{n} of filter {kind}" for kind, n in counts.lines.items()) or "none"
        msg = f"{path.name} has fewer samples than the {effective} items evaluated: {lines}"
        raise ResultsError(msg, hint="the job may have been ended while writing, or its disk was full")
    return Leaf(
        name=name,
        path=path,
        effective=effective,
        original=original,
        offsets=counts.offsets,
        documents=documents,
        tallies=counts.tallies,
        generated=counts.generated,
        empty=counts.empty,
    )


def stream(leaves: Sequence[Leaf], metrics: Collection[str]) -> Iterator[Sample]:
    """Hand out the samples of a task, or of all tasks of a group, with the values of these metrics.

    Raises:
        ResultsError: a line is not of the known shape.
    """
    with shaped(", ".join(leaf.path.name for leaf in leaves)):
        yield from _stream(leaves, metrics)


def _stream(leaves: Sequence[Leaf], metrics: Collection[str]) -> Iterator[Sample]:
    for leaf in leaves:
        prefix = f"{leaf.name}/" if len(leaves) > 1 else ""
        seen: Counter[str] = Counter()
        for lines in _documents(leaf):
            digest = str(lines[0].get("doc_hash") or lines[0].get("doc_id"))[:16]
            seen[digest] += 1
            # NOTE: equal documents have equal hashes; the file's order, which is the data's, tells them apart.
            repeated = f"#{seen[digest]}" if seen[digest] > 1 else ""
            yield _sample(f"{prefix}{digest}{repeated}", lines, metrics)


def _documents(leaf: Leaf) -> Iterator[list[dict[str, Any]]]:
    """Go through all filters' parts of a file at once: each step is one document."""
    with contextlib.ExitStack() as stack:
        handles = [stack.enter_context(leaf.path.open("rb")) for _ in leaf.offsets]
        for handle, offset in zip(handles, leaf.offsets.values(), strict=True):
            handle.seek(offset)
        for _ in range(leaf.documents):
            lines = [json.loads(handle.readline()) for handle in handles]
            if len({(line.get("doc_id"), line.get("doc_hash")) for line in lines}) > 1:
                msg = f"{leaf.path.name}: the filters' lines are not in one order"
                raise ResultsError(msg)
            yield lines


def _sample(name: str, lines: Sequence[Mapping[str, Any]], metrics: Collection[str]) -> Sample:
    values = {f"{metric},{line['filter']}": number(line.get(metric)) for line in lines for metric in line["metrics"]}
    return Sample(
        id=name,
        scores={metric: value for metric, value in values.items() if value is not None and metric in metrics},
        input=clip(_question(lines[0])),
        output=clip(_output(lines[0])),
        expected=clip(lines[0].get("target")),
    )


def number(value: object) -> float | None:
    """Return a sample's value as a number; lm-eval writes hits as 1.0 or as true."""
    return float(value) if isinstance(value, bool) else finite(value)


def _answers(line: Mapping[str, Any]) -> list[str]:
    """Return the texts that the model gave; none where it was asked for likelihoods."""
    first = (line.get("resps") or [[]])[0]
    return [answer for answer in first if isinstance(answer, str)] if isinstance(first, list) else []


def _arguments(line: Mapping[str, Any], index: int) -> list[Any]:
    given = (line.get("arguments") or {}).get(f"gen_args_{index}") or {}
    return [given.get("arg_0"), given.get("arg_1")]


def _question(line: Mapping[str, Any]) -> str | None:
    """Return the prompt; of a chat, its last message."""
    prompt = _arguments(line, 0)[0]
    if not (isinstance(prompt, list) and prompt and isinstance(prompt[0], str)):
        return prompt if isinstance(prompt, str) else None
    try:
        content = json.loads(prompt[0])[-1]["content"]
    except (ValueError, LookupError, TypeError):
        return prompt[0]
    return content if isinstance(content, str) else json.dumps(content)


def _output(line: Mapping[str, Any]) -> str | None:
    """Return the answer; of a choice, the likeliest continuation."""
    if answers := _answers(line):
        return answers[0]
    try:
        likelihoods = [float(response[0][0]) for response in line["resps"]]
        choice = _arguments(line, max(range(len(likelihoods)), key=likelihoods.__getitem__))[1]
    except (ValueError, LookupError, TypeError):
        return None
    return choice if isinstance(choice, str) else None
