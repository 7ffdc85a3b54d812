"""One metric's items as columns: read once, in a stream, strictly.

NOTE: a model per line (`results.read_samples`) costs ten times this; a million items must be judged in seconds.
"""

from __future__ import annotations

import gzip
import io
import json
import math
import sys
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NoReturn, cast

from nel_action.errors import ResultsError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Collector", "Items", "json_batches", "read_items"]

_BUFFER: Final = 1 << 20
_LARGEST: Final = sys.float_info.max
_REPEATS: Final = 2**31
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
    """Takes samples in batches and refuses what is not whole."""

    metric: str
    index: dict[str, int] = field(default_factory=dict)
    places: array[int] = field(default_factory=lambda: array("l"))
    repeats: array[int] = field(default_factory=lambda: array("l"))
    values: array[float] = field(default_factory=lambda: array("d"))
    clusters: list[str | None] = field(default_factory=list)
    inputs: array[int] = field(default_factory=lambda: array("q"))
    names: dict[str, str] = field(default_factory=dict)

    def extend(self, records: Sequence[Mapping[str, Any]], before: int) -> None:
        """Take samples in the shape of `results.Sample`.

        Args:
            records: a batch of them.
            before: how many samples came before, to say where one is wrong.

        Raises:
            ValueError: one is no sample, or has no finite value of the metric.
        """
        try:
            names = [record["id"] for record in records]
            values = [record["scores"][self.metric] for record in records]
            repeats = [record.get("repeat", 0) for record in records]
            same = [(record.get("cluster"), record.get("input")) for record in records]
            good = _all_of(names, str) and _all_of(repeats, int) and _all_of(values, float, int) and all(names)
            good = good and min(repeats) >= 0 and max(repeats) < _REPEATS
            good = good and all(map(math.isfinite, values)) and _all_of([one for one, _ in same], str, _NONE)
            # NOTE: half a surrogate pair is no text that a report could be written in.
            good = good and bool("".join(names).encode())
        except (KeyError, TypeError, AttributeError, OverflowError, UnicodeEncodeError):
            good = False
        if not good:
            self._complain(records, before)
        count, new = len(self.index), len(names)
        if self.index.keys().isdisjoint(names) and len(set(names)) == new:
            self.index.update(zip(names, range(count, count + new), strict=True))
            self.places.extend(range(count, count + new))
            self._remember(same)
        else:
            for name, first in zip(names, same, strict=True):
                place = self.index.setdefault(name, len(self.index))
                self.places.append(place)
                if place == len(self.clusters):
                    self._remember([first])
        self.values.extend(values)
        self.repeats.extend(repeats)

    def _remember(self, same: Sequence[tuple[str | None, str | None]]) -> None:
        """Note what is the same for every repeat of an item: its cluster and its question."""
        # NOTE: one string object for each cluster, not one for each item.
        known = self.names.setdefault
        self.clusters.extend(None if cluster is None else known(cluster, cluster) for cluster, _ in same)
        self.inputs.extend(0 if text is None else hash(text) or 1 for _, text in same)

    def _complain(self, records: Sequence[Mapping[str, Any]], before: int) -> NoReturn:
        """Say which sample is wrong, and how."""
        for number, record in enumerate(records, before + 1):
            if wrong := _what_is_wrong(record, self.metric):
                msg = f"line {number}: {wrong}"
                raise ValueError(msg)
        msg = f"lines {before + 1} to {before + len(records)}: no samples"
        raise ValueError(msg)

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


_NONE: Final = type(None)


def _all_of(values: Iterable[object], *kinds: type) -> bool:
    """Say whether all values are exactly of these types; True is no number here."""
    return set(map(type, values)) <= set(kinds)


def _what_is_wrong(record: object, metric: str) -> str | None:
    if not isinstance(record, Mapping):
        return "no JSON object"
    scores = record.get("scores")
    if not isinstance(scores, Mapping) or metric not in scores:
        return f"no {metric!r} in its scores"
    value = scores[metric]
    if not _all_of([value], float, int) or not abs(value) < math.inf or abs(value) > _LARGEST:
        return f"{metric} is not a finite number"
    name = record.get("id")
    if type(name) is not str or not name or name.encode(errors="replace").decode() != name:
        return "its id is no text"
    if type(record.get("repeat", 0)) is not int or not 0 <= record.get("repeat", 0) < _REPEATS:
        return "its repeat is no whole number"
    return None if _all_of([record.get("cluster")], str, _NONE) else "its cluster is no text"


def read_items(path: Path, metric: str) -> Items:
    """Read one metric from a samples file, gzipped or plain.

    Raises:
        ResultsError: the file is missing, truncated, or has a line that is not a whole sample with this metric.
    """
    collector = Collector(metric)
    try:
        with gzip.open(path, "rb") if path.suffix == ".gz" else path.open("rb") as lines:
            for before, records in json_batches(lines):
                collector.extend(records, before)
        return collector.done()
    except (OSError, EOFError, ValueError) as error:
        msg = f"cannot read samples from {path}: {error}"
        raise ResultsError(msg) from error


def _open(path: Path) -> BinaryIO:
    if path.suffix != ".gz":
        return path.open("rb")
    # NOTE: gzip's own lines pass through Python one by one; those of a buffer around it do not.
    return cast("BinaryIO", io.BufferedReader(gzip.open(path, "rb"), _BUFFER))


def json_batches(lines: Iterable[bytes]) -> Iterator[tuple[int, list[Any]]]:
    """Yield the values of JSON lines in batches, each with the number of lines before it.

    Raises:
        ValueError: a line is not one JSON value.
    """
    source, before = iter(lines), 0
    while batch := list(islice(source, _AT_ONCE)):
        yield before, _parse(batch, before)
        before += len(batch)


def _parse(batch: list[bytes], before: int) -> list[Any]:
    try:
        values = json.loads(b"[" + b",".join(batch) + b"]")
    except (ValueError, RecursionError):
        values = []
    # NOTE: two values on one line parse too when lines are joined; then each line is read by itself, and told.
    if len(values) == len(batch):
        return list(values)
    return [_parse_one(line, before + offset) for offset, line in enumerate(batch, 1)]


def _parse_one(line: bytes, number: int) -> Any:  # noqa: ANN401 - JSON
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        msg = f"line {number}: {error}"
        raise ValueError(msg) from error
