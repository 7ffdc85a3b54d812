"""Sample-by-sample parsing of inspect logs, which contain every event of every sample: some 10 kB each.

A `.eval` log is a zip archive of JSON files compressed with Zstandard, which Python supports from version 3.14 on.
"""

from __future__ import annotations

import hashlib
import json
import re
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nel_action.errors import ResultsError
from nel_action.files import open_zip, zstd_errors
from nel_action.formats.parsing import (
    TRUNCATED,
    as_mapping,
    decode_json,
    parse_float,
    reject_lfs_pointer,
    truncate_text,
)

__all__ = ["InspectSample", "load_header", "load_log", "normalized"]

_HEADER: Final = "header.json"
_SAMPLES: Final = "samples/"
"""Members of a zipped log: everything but the samples, and the directory with one file per sample."""
_SEPARATORS: Final = re.compile(r"[\s,]*")
_SCORE_WORDS: Final = {
    "C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0, "yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0,
}  # fmt: skip
"""inspect's values (correct, partial, incorrect, no answer), and the words that it converts."""


MEMBER_LIMIT: Final = 256 * 1024 * 1024
"""Bytes of a log's header, or of one sample."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectSample:
    """The retained parts of a sample."""

    id: str
    epoch: int
    """Counted from 1."""
    values: Mapping[tuple[str, str], float]
    """By scorer and name of the value; the name is empty for a scorer with a single value."""
    metadata: Mapping[str, Any]
    """The item's properties that groups are made from: only texts, numbers and booleans."""
    digest: str
    """Of input and target."""
    input: str | None
    output: str | None
    target: str | None


def load_log(path: Path) -> tuple[dict[str, Any], list[InspectSample]]:
    """Read a log.

    Returns:
        Everything but the samples as it is, and the parsed samples.

    Raises:
        ResultsError: the file is truncated or not an inspect log.
    """
    _check_pointer(path)
    with _decoding_errors(path):
        log, samples = _read_zip(path) if path.suffix == ".eval" else _read_json(path.read_text(encoding="utf-8"))
    if not isinstance(log.get("eval"), dict):
        msg = f"{path.name} is not an inspect log: it has no key 'eval'"
        raise ResultsError(msg)
    return log, samples


def load_header(path: Path) -> dict[str, Any]:
    """Read a zipped log without its samples.

    Raises:
        ResultsError: the file is truncated or not an inspect log.
    """
    _check_pointer(path)
    with _decoding_errors(path), open_zip(path) as archive:
        header = decode_json(_read_member(archive, _HEADER))
        return header if isinstance(header, dict) else {}


def _check_pointer(path: Path) -> None:
    """Reject the pointer of Git LFS to a log; other defects are found when the log is decoded."""
    try:
        with path.open("rb") as file:
            start = file.read(100)
    except OSError:
        return
    reject_lfs_pointer(path, start)


@contextmanager
def _decoding_errors(path: Path) -> Iterator[None]:
    """Report every way in which decoding a damaged log can fail.

    Raises:
        ResultsError: instead of the original error.
    """
    try:
        yield
    except NotImplementedError as error:
        msg = f"{path.name} is compressed with Zstandard, which this Python cannot read"
        hint = "install nel-action[inspect], or run: inspect log convert --to json --output-dir DIR FILE"
        raise ResultsError(msg, hint=hint) from error
    except _damage_errors() as error:
        msg = f"{path.name} is not a complete inspect log: {error}"
        raise ResultsError(msg, hint=TRUNCATED) from error


def _read_member(archive: zipfile.ZipFile, name: str) -> bytes:
    """Read a member of an archive.

    Raises:
        ValueError: it unpacks to more than `MEMBER_LIMIT`.
    """
    with archive.open(name) as member:
        data = member.read(MEMBER_LIMIT + 1)
    if len(data) > MEMBER_LIMIT:
        msg = f"{name} unpacks to more than {MEMBER_LIMIT} bytes"
        raise ValueError(msg)
    return data


def _damage_errors() -> tuple[type[Exception], ...]:
    """Return the errors that a truncated or altered log can cause."""
    errors: tuple[type[Exception], ...] = (
        OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, RecursionError, zipfile.BadZipFile,
        zlib.error,
    )  # fmt: skip
    return (*errors, *zstd_errors())


def _read_zip(path: Path) -> tuple[dict[str, Any], list[InspectSample]]:
    with open_zip(path) as archive:
        # NOTE: a retried sample occurs twice under one name; the last one counts, as for inspect.
        names = dict.fromkeys(name for name in archive.namelist() if name.startswith(_SAMPLES))
        samples = [_parse_sample(decode_json(_read_member(archive, name))) for name in names]
        return decode_json(_read_member(archive, _HEADER)), samples


def _read_json(content: str) -> tuple[dict[str, Any], list[InspectSample]]:
    """Parse a log member by member, so that only one decoded sample is in memory at a time."""
    decode, log, samples = json.JSONDecoder().raw_decode, {}, []
    position = _skip_separators(content, content.index("{") + 1)
    while content[position] != "}":
        key, position = decode(content, position)
        position = _skip_separators(content, content.index(":", position) + 1)
        if key != "samples" or content[position] != "[":
            log[key], position = decode(content, position)
        else:
            position = _skip_separators(content, position + 1)
            while content[position] != "]":
                sample, position = decode(content, position)
                samples.append(_parse_sample(sample))
                position = _skip_separators(content, position)
            position += 1
        position = _skip_separators(content, position)
    return log, samples


def _skip_separators(content: str, position: int) -> int:
    match = _SEPARATORS.match(content, position)
    return match.end() if match else position


def _parse_sample(sample: Mapping[str, Any]) -> InspectSample:
    values: dict[tuple[str, str], float] = {}
    for scorer, score in (sample.get("scores") or {}).items():
        value = score.get("value")
        for name, part in value.items() if isinstance(value, dict) else [("", value)]:
            if (number := _parse_value(part)) is not None:
                values[scorer, name] = number
    metadata = as_mapping(sample.get("metadata"))
    question, target = sample["input"], sample.get("target")
    messages = [_role_and_content(message) for message in question] if isinstance(question, list) else question
    return InspectSample(
        id=str(sample["id"]),
        epoch=int(sample["epoch"]),
        values=values,
        metadata={key: value for key, value in metadata.items() if isinstance(value, str | int | float)},
        digest=hashlib.sha256(json.dumps(normalized([messages, target]), sort_keys=True).encode()).hexdigest(),
        input=truncate_text(messages[-1][1] if isinstance(question, list) and messages else question),
        output=truncate_text((sample.get("output") or {}).get("completion")),
        target=truncate_text(" | ".join(map(str, target)) if isinstance(target, list) else target),
    )


def _role_and_content(message: Mapping[str, Any]) -> tuple[str, str]:
    """Return the parts of a message that are the same in every run; its id is not."""
    content = message.get("content")
    return str(message.get("role")), content if isinstance(content, str) else json.dumps(normalized(content))


def normalized(value: object) -> object:
    """Return a JSON value without null and empty fields, which versions of inspect write or leave out."""
    if isinstance(value, dict):
        fields = {key: normalized(part) for key, part in value.items()}
        return {key: part for key, part in fields.items() if part not in (None, {}, [])}
    return [normalized(part) for part in value] if isinstance(value, list) else value


def _parse_value(value: object) -> float | None:
    """Return a sample's value as a number, as inspect converts it; None where inspect would fall back to 0."""
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        return _SCORE_WORDS.get(value, _SCORE_WORDS.get(value.lower(), _parse_number(value)))
    return parse_float(value)


def _parse_number(value: str) -> float | None:
    try:
        return parse_float(float(value))
    except ValueError:
        return None
