"""Reading an inspect log sample by sample: it holds every event of every sample, some ten kilobytes for each."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nel_action.errors import ResultsError
from nel_action.formats.parsing import clip, finite
from nel_action.harnesses.inspect.zipped import open_zip, zip_errors

__all__ = ["Item", "load_head", "load_log"]

HEADER: Final = "header.json"
SAMPLES: Final = "samples/"
"""In a zipped log: everything but the samples, and the folder of those."""
_TORN: Final[tuple[type[Exception], ...]] = (
    OSError, EOFError, ValueError, LookupError, TypeError, AttributeError, RecursionError, *zip_errors()
)  # fmt: skip
SPACE: Final = re.compile(r"[\s,]*")
WORDS: Final = {"C": 1.0, "P": 0.5, "I": 0.0, "N": 0.0, "yes": 1.0, "true": 1.0, "no": 0.0, "false": 0.0}
"""inspect's own values: correct, partial, incorrect, no answer; and the words that it takes for them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """What is kept of a sample."""

    id: str
    epoch: int
    """1, 2, …"""
    values: Mapping[str, float]
    """Scorer (of a scorer with several values, each value's name) → value."""
    asked: str
    """Digest of input and target."""
    input: str | None
    output: str | None
    target: str | None


def load_log(path: Path) -> tuple[dict[str, Any], list[Item]]:
    """Read a log: everything but its samples as it is, and what is kept of its samples.

    Raises:
        ResultsError: it is truncated, or no inspect log.
    """
    with _whole(path):
        log, items = _unzip(path) if path.suffix == ".eval" else _walk(path.read_text(encoding="utf-8"))
    if not isinstance(log.get("eval"), dict):
        msg = f"{path.name} is not an inspect log: it has no eval"
        raise ResultsError(msg)
    return log, items


def load_head(path: Path) -> dict[str, Any]:
    """Read what a zipped log says of itself, without its samples.

    Raises:
        ResultsError: it is truncated, or no inspect log.
    """
    with _whole(path), open_zip(path) as zipped:
        head = json.loads(zipped.read(HEADER))
        return head if isinstance(head, dict) else {}


@contextmanager
def _whole(path: Path) -> Iterator[None]:
    """Tell of a log that is not whole, whatever shows it.

    Raises:
        ResultsError: in its place.
    """
    try:
        yield
    except NotImplementedError as error:
        msg = f"{path.name} is packed in a way that this Python cannot open"
        hint = "install nel-action[inspect], or: inspect log convert --to json --output-dir DIR FILE"
        raise ResultsError(msg, hint=hint) from error
    except _TORN as error:
        msg = f"{path.name} is not a whole inspect log: {error}"
        raise ResultsError(msg, hint="the job may have been ended while writing, or its disk was full") from error


def _unzip(path: Path) -> tuple[dict[str, Any], list[Item]]:
    """Go through a zipped log's members; each sample is one of them."""
    with open_zip(path) as zipped:
        # NOTE: a sample that was tried again is there twice under one name, of which the last counts, as for inspect.
        names = dict.fromkeys(name for name in zipped.namelist() if name.startswith(SAMPLES))
        return json.loads(zipped.read(HEADER)), [_item(json.loads(zipped.read(name))) for name in names]


def _walk(content: str) -> tuple[dict[str, Any], list[Item]]:
    """Go through the log's members; of its samples, only one at a time is ever whole in memory."""
    decode, log, items = json.JSONDecoder().raw_decode, {}, []
    at = _skip(content, content.index("{") + 1)
    while content[at] != "}":
        key, at = decode(content, at)
        at = _skip(content, content.index(":", at) + 1)
        if key != "samples" or content[at] != "[":
            log[key], at = decode(content, at)
        else:
            at = _skip(content, at + 1)
            while content[at] != "]":
                sample, at = decode(content, at)
                items.append(_item(sample))
                at = _skip(content, at)
            at += 1
        at = _skip(content, at)
    return log, items


def _skip(content: str, at: int) -> int:
    found = SPACE.match(content, at)
    return found.end() if found else at


def _item(sample: Mapping[str, Any]) -> Item:
    values: dict[str, float] = {}
    for scorer, score in (sample.get("scores") or {}).items():
        value = score.get("value")
        for name, inner in value.items() if isinstance(value, dict) else [(scorer, value)]:
            if (number := _number(inner)) is not None:
                values[name] = number
    question, target = sample["input"], sample.get("target")
    asked = json.dumps([[_message(part) for part in question] if isinstance(question, list) else question, target])
    return Item(
        id=str(sample["id"]),
        epoch=int(sample["epoch"]),
        values=values,
        asked=hashlib.sha256(asked.encode()).hexdigest(),
        input=clip(_message(question[-1])[1] if isinstance(question, list) and question else question),
        output=clip((sample.get("output") or {}).get("completion")),
        target=clip(" | ".join(map(str, target)) if isinstance(target, list) else target),
    )


def _message(message: Mapping[str, Any]) -> tuple[str, str]:
    """Return a message's role and content; its id is made up anew in each run."""
    content = message.get("content")
    return str(message.get("role")), content if isinstance(content, str) else json.dumps(content)


def _number(value: object) -> float | None:
    """Return a sample's value as a number, as inspect's own reading does, but none where that would guess 0."""
    if isinstance(value, bool):
        return float(value)
    if isinstance(value, str):
        return WORDS.get(value, WORDS.get(value.lower(), _from_text(value)))
    return finite(value)


def _from_text(value: str) -> float | None:
    try:
        return finite(float(value))
    except ValueError:
        return None
