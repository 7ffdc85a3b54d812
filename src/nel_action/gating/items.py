"""Strict, streaming reader of the samples of one metric into columns.

NOTE: a pydantic model for each line (`results.read_samples`) takes ten times as long; a million items must be judged
within seconds.
"""

from __future__ import annotations

import gzip
import json
import math
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Final, NoReturn, cast

from nel_action.errors import ResultsError
from nel_action.files import limited
from nel_action.statistics.items import Items, mean_by_item

if TYPE_CHECKING:
    from nel_action.formats.parsing import SampleColumns

__all__ = ["Collector", "items_of_columns", "read_items"]

_LARGEST_SCORE: Final = sys.float_info.max
_MAX_REPEATS: Final = 2**31
_BLOCK_SIZE: Final = 1 << 16
"""Bytes whose lines are parsed at once: a call of the JSON parser costs more than a line."""
_NONE: Final = type(None)


@dataclass(slots=True)
class Collector:
    """Collects the samples of one metric in batches and rejects malformed ones."""

    metric: str
    index: dict[str, int] = field(default_factory=dict)
    """Item id to row."""
    rows: array[int] = field(default_factory=lambda: array("l"))
    """Row of each sample's item; empty as long as each item has one sample."""
    repeats: array[int] = field(default_factory=lambda: array("l"))
    values: array[float] = field(default_factory=lambda: array("d"))
    clusters: list[str | None] = field(default_factory=list)
    inputs: array[int] = field(default_factory=lambda: array("q"))
    """Hash of each item's prompt; 0 without one."""
    cluster_names: dict[str, str] = field(default_factory=dict)
    without_value: set[str] = field(default_factory=set)
    """Ids of samples without a value of the metric, which are no measurements."""

    def extend(self, records: Sequence[Mapping[str, Any]], before: int) -> None:
        """Add samples in the structure of `results.Sample`; those without the metric are left out.

        Args:
            records: a batch of samples.
            before: number of samples before the batch, for messages.

        Raises:
            ValueError: a record is no sample, or its value of the metric is not finite.
        """
        batch = records
        try:
            if not all(self.metric in record["scores"] for record in records):
                self.without_value.update(record["id"] for record in records if self.metric not in record["scores"])
                records = [record for record in records if self.metric in record["scores"]]
                if not records:
                    return
            names = [record["id"] for record in records]
            values = [record["scores"][self.metric] for record in records]
            repeats = [record.get("repeat", 0) for record in records]
            clusters = [record.get("cluster") for record in records]
            texts = [record.get("input") for record in records]
            valid = _have_types(names, str) and _have_types(repeats, int) and _have_types(values, float, int)
            valid = valid and all(names) and min(repeats) >= 0 and max(repeats) < _MAX_REPEATS
            valid = valid and all(map(math.isfinite, values))
            valid = valid and _have_types(clusters, str, _NONE)
            # NOTE: a lone surrogate cannot be encoded, so no report could contain the id.
            valid = valid and bool("".join(names).encode())
        except (KeyError, TypeError, AttributeError, OverflowError, UnicodeEncodeError):
            valid = False
        if not valid:
            self._reject(batch, before)
        self._append(names, values, repeats, clusters, texts)

    def extend_rows(self, rows: Sequence[Any]) -> bool:
        """Add a batch of samples that `_row_decoder` has validated.

        Returns:
            False, without adding any, if a sample needs the checks of `extend`.
        """
        values = [row.scores.value for row in rows]
        names, repeats = [row.id for row in rows], [row.repeat for row in rows]
        # NOTE: a value that is not set compares as another type; a sum that overflows only costs the slower checks.
        if not _have_types(values, float) or not math.isfinite(sum(values)) or not all(names):
            return False
        if min(repeats) < 0 or max(repeats) >= _MAX_REPEATS:
            return False
        self._append(names, values, repeats, [row.cluster for row in rows], [row.input for row in rows])
        return True

    def _append(
        self,
        names: Sequence[str],
        values: list[float],
        repeats: list[int],
        clusters: Sequence[str | None],
        texts: Sequence[str | None],
    ) -> None:
        """Add valid samples, one entry of each sequence for each.

        Args:
            names: ids.
            values: values of the metric.
            repeats: repeats.
            clusters: names of the clusters.
            texts: prompts.
        """
        before = len(self.index)
        if not self.rows:
            self.index.update(zip(names, range(before, before + len(names)), strict=True))
        if self.rows or len(self.index) < before + len(names):
            self._append_repeats(names, clusters, texts, before)
        else:
            self._add_properties(clusters, texts)
        self.values.fromlist(values)
        self.repeats.fromlist(repeats)

    def _append_repeats(
        self, names: Sequence[str], clusters: Sequence[str | None], texts: Sequence[str | None], before: int
    ) -> None:
        """Add samples some of which belong to known items.

        Args:
            names: ids.
            clusters: cluster of each sample.
            texts: prompt of each sample.
            before: number of items before these samples.
        """
        if not self.rows:
            # NOTE: the order of the keys is that of the rows, also after an update that overwrote some.
            self.index = {name: row for row, name in enumerate(islice(self.index, before))}
            self.rows.extend(range(before))
        for name, cluster, text in zip(names, clusters, texts, strict=True):
            row = self.index.setdefault(name, len(self.index))
            self.rows.append(row)
            if row == len(self.clusters):
                self._add_properties([cluster], [text])

    def _add_properties(self, clusters: Sequence[str | None], texts: Sequence[str | None]) -> None:
        """Store the clusters and the prompts of new items, which all repeats of an item share."""
        if not _have_types(clusters, _NONE):
            # NOTE: one string object for each cluster instead of one for each item.
            intern = self.cluster_names.setdefault
            self.clusters.extend(None if cluster is None else intern(cluster, cluster) for cluster in clusters)
        else:
            self.clusters.extend(clusters)
        if not _have_types(texts, _NONE):
            self.inputs.extend(0 if text is None else hash(text) or 1 for text in texts)
        else:
            self.inputs.frombytes(bytes(len(texts) * self.inputs.itemsize))

    def _reject(self, records: Sequence[Mapping[str, Any]], before: int) -> NoReturn:
        """Raise an error with the first malformed sample and its defect."""
        for number, record in enumerate(records, before + 1):
            if defect := _defect(record, self.metric):
                msg = f"line {number}: {defect}"
                raise ValueError(msg)
        msg = f"lines {before + 1} to {before + len(records)}: malformed samples"
        raise ValueError(msg)

    def done(self) -> Items:
        """Average the repeats of each item and return the columns.

        Raises:
            ValueError: an item has the same repeat twice, or there are no items.
        """
        import numpy as np

        if not self.index:
            msg = f"no item has a value of {self.metric}" if self.without_value else "there are no items"
            raise ValueError(msg)
        if partial := next((name for name in self.index if name in self.without_value), None):
            msg = f"item {partial!r} has no value of {self.metric} in some of its repeats"
            raise ValueError(msg)
        values = np.asarray(self.values)
        low, high, samples = float(values.min()), float(values.max()), len(values)
        sample_mean = float(values.mean()) if samples > len(self.index) else None
        if samples > len(self.index):
            self._reject_duplicates()
            values = mean_by_item(np.asarray(self.rows, dtype=np.int64), values)
        inputs = np.asarray(self.inputs, dtype=np.int64)
        return Items(
            index=self.index,
            values=values,
            clusters=tuple(self.clusters) if self.cluster_names else None,
            inputs=inputs if bool(inputs.all()) else None,
            low=low,
            high=high,
            samples=samples,
            sample_mean=sample_mean,
        )

    def _reject_duplicates(self) -> None:
        seen: set[tuple[int, int]] = set()
        for key in zip(self.rows, self.repeats, strict=True):
            if key in seen:
                name = next(islice(self.index, key[0], None))
                msg = f"item {name!r} has repeat {key[1]} twice"
                raise ValueError(msg)
            seen.add(key)


def items_of_columns(columns: SampleColumns, metric: str) -> Items | None:
    """Return the items of one metric; None if no item has a value of it.

    Args:
        columns: the samples of a result.
        metric: the metric.

    Raises:
        ResultsError: two items have the same id.
    """
    import numpy as np

    if metric not in columns.values:
        return None
    values = np.asarray(columns.values[metric], dtype=np.float64)
    rows = np.flatnonzero(~np.isnan(values))
    if not len(rows):
        return None
    is_complete = len(rows) == len(values)
    ids = columns.ids if is_complete else [columns.ids[row] for row in rows.tolist()]
    index = dict(zip(ids, range(len(ids)), strict=True))
    if len(index) < len(ids):
        msg = "the samples have duplicate ids"
        raise ResultsError(msg)
    inputs = np.asarray(columns.inputs, dtype=np.int64)[rows]
    values = values[rows]
    return Items(
        index=index,
        values=values,
        clusters=None,
        inputs=inputs if bool(inputs.all()) else None,
        low=float(values.min()),
        high=float(values.max()),
        samples=len(values),
    )


def _have_types(values: Iterable[object], *types: type) -> bool:
    """Return whether all values are exactly of these types; a boolean is no number."""
    return set(map(type, values)) <= set(types)


def _defect(record: object, metric: str) -> str | None:
    """Return why a record is no sample with the metric; None if it is one."""
    if not isinstance(record, Mapping):
        return "not a JSON object"
    scores = record.get("scores")
    if not isinstance(scores, Mapping):
        return "scores is not a JSON object"
    value = scores.get(metric, 0)
    if isinstance(value, bool):
        return f"{metric} is {str(value).lower()}, not a number; write 1 for true and 0 for false"
    if not _have_types([value], float, int) or not abs(value) < math.inf or abs(value) > _LARGEST_SCORE:
        return f"{metric} is not a finite number"
    name = record.get("id")
    if type(name) is not str or not name or name.encode(errors="replace").decode() != name:
        return "id is not a text"
    if type(record.get("repeat", 0)) is not int or not 0 <= record.get("repeat", 0) < _MAX_REPEATS:
        return "repeat is not an integer in range"
    return None if _have_types([record.get("cluster")], str, _NONE) else "cluster is not a text"


def read_items(path: Path, metric: str) -> Items | None:
    """Read one metric from a samples file, plain or gzipped; None if no sample has a value of it.

    Args:
        path: a JSON-lines file; gzipped if its name ends in `.gz`.
        metric: name of the metric.

    Raises:
        ResultsError: the file is missing or truncated, or a line is not a sample with the metric.
    """
    collector = Collector(metric)
    try:
        with _open(path) as lines:
            decode, before = _row_decoder(metric), 0
            for batch in _batches(lines):
                count = batch.count(b"\n") + 1
                if not _extend_fast(collector, decode, batch, count):
                    collector.extend(_parse_batch(batch.split(b"\n"), before), before)
                before += count
        return None if collector.without_value and not collector.index else collector.done()
    except (OSError, EOFError, ValueError) as error:
        msg = f"cannot read samples from {path}: {error}"
        raise ResultsError(msg) from error


def _batches(lines: BinaryIO) -> Iterator[bytes]:
    """Yield complete lines of a file in blocks, without the line break at the end of a block."""
    incomplete: list[bytes] = []
    while block := lines.read(_BLOCK_SIZE):
        complete, line_break, rest = block.rpartition(b"\n")
        if line_break:
            yield b"".join((*incomplete, complete))
            incomplete = []
        if rest:
            incomplete.append(rest)
    if incomplete:
        yield b"".join(incomplete)


def _open(path: Path) -> BinaryIO:
    return limited(path.open("rb") if path.suffix != ".gz" else cast("BinaryIO", gzip.open(path, "rb")))


@lru_cache(maxsize=64)
def _row_decoder(metric: str) -> Callable[[bytes], Any]:
    """Return a decoder of a JSON array of samples that keeps only the needed fields and checks their types."""
    import msgspec

    value = ("value", float | msgspec.UnsetType, msgspec.UNSET)
    scores = msgspec.defstruct("Scores", [value], rename={"value": metric}, gc=False)
    fields: list[tuple[str, Any] | tuple[str, Any, Any]] = [
        ("id", str), ("scores", scores), ("repeat", int, 0), ("cluster", str | None, None), ("input", str | None, None),
    ]  # fmt: skip
    row: Any = msgspec.defstruct("Row", fields, gc=False)
    return msgspec.json.Decoder(list[row]).decode


def _extend_fast(collector: Collector, decode: Callable[[bytes], Any], batch: bytes, count: int) -> bool:
    """Add a batch of lines; return False, without adding any, if a line needs the checks of `Collector.extend`.

    Args:
        collector: collects the samples.
        decode: decodes a JSON array of samples.
        batch: the lines.
        count: number of lines.
    """
    try:
        rows = decode(b"[" + batch.replace(b"\n", b",") + b"]")
    except (ValueError, RecursionError):
        return False
    # NOTE: joined lines also parse if one of them has two values.
    return len(rows) == count and collector.extend_rows(rows)


def _parse_batch(batch: list[bytes], before: int) -> list[Any]:
    try:
        values = json.loads(b"[" + b",".join(batch) + b"]")
    except (ValueError, RecursionError):
        values = []
    # NOTE: joined lines also parse if one of them has two values; then each line is parsed on its own.
    if len(values) == len(batch):
        return list(values)
    return [_parse_line(line, before + offset) for offset, line in enumerate(batch, 1)]


def _parse_line(line: bytes, number: int) -> Any:  # noqa: ANN401 - JSON
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        msg = f"line {number}: {error}"
        raise ValueError(msg) from error
