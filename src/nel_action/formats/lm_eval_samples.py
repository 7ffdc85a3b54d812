"""Samples files of lm-evaluation-harness: one line per document and filter, the lines of each filter in sequence.

`scan_samples` decodes the needed fields in one pass and keeps them as columns, in which the lines that different
filters have for one document are joined; `read_samples` streams the file again for the texts.
"""

from __future__ import annotations

import contextlib
import json
import math
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Final

import msgspec

from nel_action.errors import ResultsError
from nel_action.formats.parsing import (
    TEXT_LIMIT,
    TRUNCATED,
    decode_json,
    parse_float,
    reject_lfs_pointer,
    schema_guard,
    truncate_text,
)
from nel_action.model.results import Sample

__all__ = ["Column", "SamplesFile", "read_samples", "scan_samples"]

_NO_VALUE: Final = math.nan
_BATCH_SIZE: Final = 256
"""Lines that are decoded at once."""


@dataclass(slots=True)
class Column:
    """The values of one metric of one filter."""

    values: array[float] = field(default_factory=lambda: array("d"))
    """One for each document; NaN for a document without a number as its value."""
    weights: array[float] | None = None
    """Second part of values that are pairs (log-likelihood, words or bytes); None if values are numbers."""
    count: int = 0
    """Documents with a value of any type except NaN and null."""
    without_value: int = 0
    """Documents with NaN or null."""
    opaque: bool = False
    """Some values are neither numbers nor pairs, such as the texts that corpus BLEU is computed from."""

    def add(self, value: object) -> None:
        """Add the value of a document; lm-eval writes a correct answer as 1.0 or as true."""
        number = float(value) if isinstance(value, bool) else parse_float(value)
        if number is not None:
            self.count += 1
        elif value is None or isinstance(value, float):
            self.without_value += 1
        else:
            self.count += 1
            number = self._add_pair(value)
        self.values.append(_NO_VALUE if number is None else number)

    def _add_pair(self, value: object) -> float | None:
        parts = [parse_float(part) for part in value] if isinstance(value, list) and len(value) == 2 else []  # noqa: PLR2004 - a pair
        if len(parts) != 2 or parts[0] is None or parts[1] is None or parts[1] <= 0:  # noqa: PLR2004
            self.opaque = True
            return None
        if self.weights is None:
            self.weights = array("d")
        self.weights.append(parts[1])
        return parts[0]

    def pad(self, documents: int) -> None:
        """Add documents that lack the metric."""
        self.values.extend([_NO_VALUE] * (documents - len(self.values)))


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
    ids: Sequence[str]
    """Of each document, stable across runs."""
    inputs: Sequence[int]
    """Hash of each document's prompt; 0 without one."""
    columns: Mapping[str, Column]
    """By `metric,filter`."""
    generated: int
    """Documents answered with text."""
    empty: int
    """Documents of these whose answers are all empty."""


@dataclass(slots=True)
class _Scan:
    """Columns that grow with each line."""

    name: str
    offsets: dict[str, int] = field(default_factory=dict)
    lines: Counter[str] = field(default_factory=Counter)
    columns: dict[str, Column] = field(default_factory=dict)
    documents: list[tuple[object, object]] = field(default_factory=list)
    inputs: array[int] = field(default_factory=lambda: array("q"))
    generated: int = 0
    empty: int = 0

    def add_batch(self, records: Sequence[Any], metrics: Sequence[str], offset: int) -> bool:
        """Add lines of one filter with plain numbers as values, column by column.

        Args:
            records: decoded lines; the values of the metrics are in `m0`, `m1`, …
            metrics: names of the metrics.
            offset: position of the first line in bytes.

        Returns:
            False, without adding any, if a line needs `add`.
        """
        filters = {record.filter for record in records}
        names = list(metrics)
        if len(filters) != 1 or any(record.metrics != names for record in records):
            return False
        columns = [[getattr(record, f"m{index}") for record in records] for index in range(len(names))]
        if any(not set(map(type, column)) <= {float, int, bool} for column in columns):
            return False
        filter_name = filters.pop()
        row, is_first = self.lines[filter_name], not self.offsets or next(iter(self.offsets)) == filter_name
        documents = [(record.doc_id, record.doc_hash) for record in records]
        if not is_first and self.documents[row : row + len(records)] != documents:
            return False
        try:
            arrays = [array("d", column) for column in columns]
        except OverflowError:
            return False
        self.offsets.setdefault(filter_name, offset)
        if is_first:
            self.documents += documents
            self._add_texts(records)
        for name, values in zip(names, arrays, strict=True):
            column = self.columns.setdefault(f"{name},{filter_name}", Column())
            column.pad(row)
            column.values.extend(values)
            column.count += len(values)
        self.lines[filter_name] = row + len(records)
        return True

    def _add_texts(self, records: Sequence[Any]) -> None:
        """Add the prompts and count the answers of a batch."""
        prompts = [record.arguments.gen_args_0.arg_0 for record in records]
        texts = [
            prompt if type(prompt) is str and len(prompt) <= TEXT_LIMIT else truncate_text(_prompt_text(prompt))
            for prompt in prompts
        ]
        self.inputs.fromlist([0 if text is None else hash(text) or 1 for text in texts])
        for record in records:
            if answers := _answers_of(record.resps):
                self.generated += 1
                self.empty += not any(map(str.strip, answers))

    def add(self, record: Mapping[str, Any], offset: int) -> None:
        """Add a line."""
        filter_name = str(record.get("filter"))
        row = self.lines[filter_name]
        document = (record.get("doc_id"), record.get("doc_hash"))
        if not row:
            self.offsets[filter_name] = offset
        if len(self.offsets) == 1:
            self.documents.append(document)
            text = truncate_text(_question(record))
            self.inputs.append(0 if text is None else hash(text) or 1)
            if answers := _answers(record):
                self.generated += 1
                self.empty += not any(answer.strip() for answer in answers)
        elif row < len(self.documents) and self.documents[row] != document:
            msg = f"{self.name}: the filters list the documents in different orders"
            raise ResultsError(msg)
        for metric in record.get("metrics") or ():
            column = self.columns.setdefault(f"{metric},{filter_name}", Column())
            if len(column.values) < row:
                column.pad(row)
            column.add(record.get(metric))
        self.lines[filter_name] = row + 1


class _Decoder:
    """Decodes the needed fields of a line; the metrics are top-level fields whose names `metrics` lists."""

    _FIELDS: Final = ("doc_id", "doc_hash", "filter", "metrics", "arguments", "resps")

    def __init__(self) -> None:
        self._names: tuple[str, ...] = ()
        self._decode: Callable[[bytes], Any] = self._make_decoder()

    def _make_decoder(self) -> Callable[[bytes], Any]:
        names = (*self._FIELDS, *self._names)
        keys = {f"f{index}": name for index, name in enumerate(names)}
        fields = [(key, Any, None) for key in keys]
        return msgspec.json.Decoder(msgspec.defstruct("Line", fields, rename=keys, gc=False)).decode

    def decode(self, line: bytes) -> Mapping[str, Any]:
        """Return the fields of a line.

        Raises:
            ValueError: the line is not JSON.
            TypeError: the line is not an object.
        """
        try:
            values = msgspec.structs.astuple(self._decode(line))
        except (ValueError, RecursionError):
            # NOTE: Python's JSON also has NaN, which lm-eval writes.
            record = decode_json(line)
            if not isinstance(record, dict):
                raise TypeError(type(record).__name__) from None
            return record
        record = dict(zip((*self._FIELDS, *self._names), values, strict=True))
        metrics = record["metrics"] or ()
        if not set(metrics) <= set(self._names):
            new = [name for name in metrics if isinstance(name, str) and name not in self._names]
            self._names = (*self._names, *(name for name in new if name not in self._FIELDS))
            self._decode = self._make_decoder()
            return self.decode(line) if self._names and new else record
        return record


class _Arguments(msgspec.Struct, frozen=True, gc=False):
    arg_0: Any = None


class _Requests(msgspec.Struct, frozen=True, gc=False):
    gen_args_0: _Arguments = _Arguments()


class _BatchDecoder:
    """Decodes batches of lines whose metrics are those of the first line."""

    def __init__(self, metrics: Sequence[str]) -> None:
        self.metrics = metrics
        keys = {f"m{index}": name for index, name in enumerate(metrics)}
        fields: list[tuple[str, Any, Any]] = [
            ("doc_id", Any, None), ("doc_hash", Any, None), ("filter", str, "None"), ("metrics", list[str], ()),
            ("arguments", _Requests, _Requests()), ("resps", Any, None), *((key, Any, None) for key in keys),
        ]  # fmt: skip
        line: Any = msgspec.defstruct("Line", fields, rename=keys, gc=False)
        self._decode = msgspec.json.Decoder(list[line]).decode

    def decode(self, lines: Sequence[bytes]) -> Sequence[Any]:
        """Return the lines; none if one of them needs the slower decoder."""
        try:
            records = self._decode(b"[" + b",".join(lines) + b"]")
        except (ValueError, RecursionError):
            return ()
        # NOTE: joined lines also parse if one of them has two values.
        return records if len(records) == len(lines) else ()

    @classmethod
    def for_line(cls, line: bytes) -> _BatchDecoder | None:
        """Return the decoder for lines like this one; None if it is not as expected."""
        try:
            metrics = json.loads(line)["metrics"]
        except (ValueError, LookupError, TypeError, RecursionError):
            return None
        fixed = {"doc_id", "doc_hash", "filter", "metrics", "arguments", "resps"}
        is_valid = isinstance(metrics, list) and all(isinstance(name, str) for name in metrics)
        return cls(metrics) if is_valid and fixed.isdisjoint(metrics) and len(set(metrics)) == len(metrics) else None


def scan_samples(path: Path, task: str, effective: int, original: int) -> SamplesFile:
    """Read the columns of a samples file.

    Args:
        path: the file.
        task: name of its task.
        effective: items that lm-eval reports to have evaluated.
        original: items of the data set.

    Raises:
        ResultsError: the file is unreadable or truncated, or has fewer documents than were evaluated.
    """
    scan, decoder, offset = _Scan(path.name), _Decoder(), 0
    try:
        with path.open("rb") as lines:
            batches, number = None, 0
            while batch := list(islice(lines, _BATCH_SIZE)):
                batches = batches or _BatchDecoder.for_line(batch[0])
                records = batches.decode(batch) if batches is not None else ()
                if batches is None or not records or not scan.add_batch(records, batches.metrics, offset):
                    position = offset
                    for index, line in enumerate(batch, start=number + 1):
                        scan.add(_decode(decoder, line, path, index), position)
                        position += len(line)
                number, offset = number + len(batch), offset + sum(map(len, batch))
    except OSError as error:
        msg = f"cannot read {path}: {error.strerror or error}"
        raise ResultsError(msg) from error
    documents = max(scan.lines.values(), default=0)
    if documents < effective or len(set(scan.lines.values())) > 1:
        counts = ", ".join(f"{count} of filter {name}" for name, count in scan.lines.items()) or "none"
        msg = f"{path.name} has fewer samples than the {effective} evaluated items: {counts}"
        raise ResultsError(msg, hint=TRUNCATED)
    for column in scan.columns.values():
        column.pad(documents)
    return SamplesFile(
        task=task,
        path=path,
        effective=effective,
        original=original,
        offsets=scan.offsets,
        ids=_stable_ids(scan.documents),
        inputs=scan.inputs,
        columns=scan.columns,
        generated=scan.generated,
        empty=scan.empty,
    )


def _decode(decoder: _Decoder, line: bytes, path: Path, number: int) -> Mapping[str, Any]:
    source = f"{path.name}, line {number},"
    try:
        return decoder.decode(line)
    except TypeError as error:
        msg = f"{source} contains a {error}; expected a JSON object"
        raise ResultsError(msg) from error
    except (ValueError, RecursionError) as error:
        reject_lfs_pointer(path, line)
        msg = f"{source} is not valid JSON"
        raise ResultsError(msg, hint=TRUNCATED) from error


def _stable_ids(documents: Sequence[tuple[object, object]]) -> list[str]:
    """Return the ids of documents, which are the same in every run.

    Args:
        documents: number and hash of each document.
    """
    digests = [str(doc_hash or doc_id)[:16] for doc_id, doc_hash in documents]
    if len(set(digests)) == len(digests):
        return digests
    seen: Counter[str] = Counter()
    ids = []
    for digest in digests:
        seen[digest] += 1
        # NOTE: equal documents have equal hashes; they are numbered in the order of the data set.
        ids.append(f"{digest}#{seen[digest]}" if seen[digest] > 1 else digest)
    return ids


def read_samples(files: Sequence[SamplesFile], values: Sequence[Mapping[str, Sequence[float]]]) -> Iterator[Sample]:
    """Stream the samples of a task, or of all tasks of a group, with their texts.

    Args:
        files: the scanned samples files.
        values: for each file, metric → value of each document; NaN for none.

    Raises:
        ResultsError: a line does not have the expected structure.
    """
    with schema_guard(", ".join(file.path.name for file in files)):
        for file, columns in zip(files, values, strict=True):
            prefix = f"{file.task}/" if len(files) > 1 else ""
            for row, (sample_id, record) in enumerate(zip(file.ids, _documents(file), strict=True)):
                scores = {metric: column[row] for metric, column in columns.items() if not math.isnan(column[row])}
                yield Sample(
                    id=f"{prefix}{sample_id}",
                    scores=scores,
                    input=truncate_text(_question(record)),
                    output=truncate_text(_output(record)),
                    expected=truncate_text(record.get("target")),
                )


def _documents(file: SamplesFile) -> Iterator[dict[str, Any]]:
    """Yield the line of each document, of the first filter."""
    with contextlib.ExitStack() as stack:
        handle = stack.enter_context(file.path.open("rb"))
        handle.seek(min(file.offsets.values(), default=0))
        for _ in file.ids:
            yield decode_json(handle.readline())


def _answers(record: Mapping[str, Any]) -> list[str]:
    """Return the generated texts; none for log-likelihood requests."""
    return _answers_of(record.get("resps"))


def _answers_of(resps: Any) -> list[str]:  # noqa: ANN401 a JSON value
    responses = (resps or [[]])[0]
    return [answer for answer in responses if isinstance(answer, str)] if isinstance(responses, list) else []


def _arguments(record: Mapping[str, Any], index: int) -> list[Any]:
    arguments = (record.get("arguments") or {}).get(f"gen_args_{index}") or {}
    return [arguments.get("arg_0"), arguments.get("arg_1")]


def _question(record: Mapping[str, Any]) -> str | None:
    """Return the prompt; of a chat, its last message."""
    return _prompt_text(_arguments(record, 0)[0])


def _prompt_text(prompt: object) -> str | None:
    if not (isinstance(prompt, list) and prompt and isinstance(prompt[0], str)):
        return prompt if isinstance(prompt, str) else None
    try:
        content = msgspec.json.decode(prompt[0])[-1]["content"]
    except (ValueError, LookupError, TypeError, RecursionError):
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
