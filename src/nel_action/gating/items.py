"""One metric's items as columns: read once, in a stream, strictly.

NOTE: a model per line (`results.read_samples`) costs ten times this; a million items must be judged in seconds.
"""

from __future__ import annotations

import gzip
import json
import math
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nel_action.errors import ResultsError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Collector", "Items", "json_lines", "read_items"]

_AT_ONCE: Final = 512
"""Lines that are parsed together: one call of the parser is dearer than a line."""


@dataclass(frozen=True, slots=True, eq=False)
class Items:
    """One metric on one side, an entry for each item; repeats are averaged within their item."""

    index: dict[str, int]
    """Item id to its place in the columns, in order of appearance."""
    values: NDArray[np.float64]
    """Mean over the item's repeats, in the metric's unit."""
    clusters: tuple[str | None, ...] | None
    """Each item's cluster, or None where no item has one."""
    inputs: NDArray[np.int64] | None
    """A digest of what each item asked, or None where the samples do not say."""
    low: float
    """Smallest value of a single sample."""
    high: float
    """Largest value of a single sample."""
    samples: int
    """Samples, all repeats counted."""

    def __len__(self) -> int:
        return len(self.index)


@dataclass(slots=True)
class Collector:
    """Takes samples one by one and refuses what is not whole."""

    metric: str
    index: dict[str, int] = field(default_factory=dict)
    places: array[int] = field(default_factory=lambda: array("l"))
    repeats: array[int] = field(default_factory=lambda: array("l"))
    values: array[float] = field(default_factory=lambda: array("d"))
    clusters: list[str | None] = field(default_factory=list)
    inputs: array[int] = field(default_factory=lambda: array("q"))
    names: dict[str, str] = field(default_factory=dict)

    def add(self, record: Mapping[str, Any]) -> None:
        """Take one sample in the shape of `results.Sample`.

        Raises:
            ValueError: it is not one, or has no finite value of the metric.
        """
        name, value, repeat = record["id"], record["scores"][self.metric], record.get("repeat", 0)
        if type(name) is not str or type(repeat) is not int:
            msg = "id must be text and repeat a whole number"
            raise ValueError(msg)
        if (type(value) is not float and type(value) is not int) or not math.isfinite(value):
            msg = f"{self.metric} is not a finite number"
            raise ValueError(msg)
        place = self.index.setdefault(name, len(self.index))
        self.places.append(place)
        self.repeats.append(repeat)
        self.values.append(value)
        if place == len(self.clusters):
            self._first(record)

    def _first(self, record: Mapping[str, Any]) -> None:
        """Note what is the same for every repeat of an item."""
        cluster, text = record.get("cluster"), record.get("input")
        if cluster is not None and type(cluster) is not str:
            msg = "cluster must be text"
            raise ValueError(msg)
        # NOTE: one string object for each cluster, not one for each item.
        self.clusters.append(cluster if cluster is None else self.names.setdefault(cluster, cluster))
        self.inputs.append(0 if text is None else hash(text) or 1)

    def done(self) -> Items:
        """Average repeats and close the columns.

        Raises:
            ValueError: an item has the same repeat twice, or there is no item.
        """
        import numpy as np

        if not self.index:
            msg = "there is no item"
            raise ValueError(msg)
        places, values = np.asarray(self.places), np.asarray(self.values)
        low, high, samples = float(values.min()), float(values.max()), len(values)
        if samples > len(self.index):
            self._refuse_doubles()
            values = np.bincount(places, values) / np.bincount(places)
        inputs = np.asarray(self.inputs, dtype=np.int64)
        return Items(
            index=self.index,
            values=values,
            clusters=tuple(self.clusters) if self.names else None,
            inputs=inputs if bool(inputs.all()) else None,
            low=low,
            high=high,
            samples=samples,
        )

    def _refuse_doubles(self) -> None:
        seen: set[tuple[int, int]] = set()
        for key in zip(self.places, self.repeats, strict=True):
            if key in seen:
                name = next(islice(self.index, key[0], None))
                msg = f"item {name!r} has repeat {key[1]} twice"
                raise ValueError(msg)
            seen.add(key)


def read_items(path: Path, metric: str) -> Items:
    """Read one metric from a samples file, gzipped or plain.

    Raises:
        ResultsError: the file is missing, truncated, or has a line that is not a whole sample with this metric.
    """
    collector = Collector(metric)
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as lines:
            for number, record in json_lines(lines):
                _take(collector.add, record, number)
        return collector.done()
    except (OSError, EOFError, ValueError) as error:
        msg = f"cannot read samples from {path}: {error}"
        raise ResultsError(msg) from error


def _take(add: Callable[[dict[str, Any]], None], record: Any, number: int) -> None:  # noqa: ANN401 - JSON
    try:
        add(record)
    except KeyError as error:
        msg = f"line {number}: no {error.args[0]!r}"
        raise ValueError(msg) from error
    except (TypeError, AttributeError, ValueError) as error:
        msg = f"line {number}: {error}"
        raise ValueError(msg) from error


def json_lines(lines: Iterable[bytes]) -> Iterator[tuple[int, Any]]:
    """Yield (line number, value) of JSON lines, many parsed at once.

    Raises:
        ValueError: a line is not one JSON value.
    """
    source, number = iter(lines), 0
    while batch := list(islice(source, _AT_ONCE)):
        for value in _parse(batch, number):
            number += 1
            yield number, value


def _parse(batch: list[bytes], before: int) -> list[Any]:
    try:
        values = json.loads(b"[" + b",".join(batch) + b"]")
    except ValueError:
        values = []
    # NOTE: two values on one line parse too when lines are joined; then each line is read by itself, and told.
    if len(values) == len(batch):
        return list(values)
    return [_parse_one(line, before + offset) for offset, line in enumerate(batch, 1)]


def _parse_one(line: bytes, number: int) -> Any:  # noqa: ANN401 - JSON
    try:
        return json.loads(line)
    except ValueError as error:
        msg = f"line {number}: {error}"
        raise ValueError(msg) from error
