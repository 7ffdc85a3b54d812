"""What every reader of result files needs: whole JSON, finite numbers, one file and not two, honest counts."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nel_action.errors import ResultsError
from nel_action.model.results import Sample, Score

__all__ = [
    "ParsedResult",
    "choose_metric",
    "clip",
    "directed",
    "expected_items",
    "finite",
    "json_lines",
    "limited",
    "load_json",
    "only_file",
    "shaped",
    "text",
    "whole",
]


def finite(value: object) -> float | None:
    """Return a number as a float; None for NaN, infinities, "N/A", None and whatever else is no measurement."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def whole(value: object) -> int | None:
    """Return a count as an int; None for what is none."""
    number = finite(value)
    return int(number) if number is not None and number >= 0 and number == int(number) else None


def text(value: object) -> str | None:
    """Return a version, digest or name as text; None for what says nothing ("", "N/A", None)."""
    return str(value) if isinstance(value, str | int | float) and str(value) not in {"", "N/A"} else None


def limited(total: int, limit: float | None) -> int:
    """Return how many of `total` items a limit lets through: a count, or a share below 1, rounded up."""
    if limit is None:
        return total
    return min(total, math.ceil(total * limit) if limit < 1 else int(limit))


def expected_items(declared: int | None, seen: int | None, limit: float | None) -> int | None:
    """Return the items that a run should have: by what the spec or catalog declares, else by what the harness saw.

    Where neither says, a limit that is a count is taken at its word: fewer items are then too few.
    """
    total = declared if declared is not None else seen
    if total is None:
        return int(limit) if limit is not None and limit >= 1 else None
    return limited(total, limit)


def directed(scores: Iterable[Score], primary: str | None, higher_is_better: bool | None) -> tuple[Score, ...]:  # noqa: FBT001
    """Give the primary score the catalog's direction where the harness gives none."""
    if higher_is_better is None:
        return tuple(scores)
    return tuple(
        score.model_copy(update={"higher_is_better": higher_is_better})
        if score.metric == primary and score.higher_is_better is None
        else score
        for score in scores
    )


def load_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ResultsError: the file is missing, truncated or holds something else.
    """
    try:
        data = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        msg = f"no {path.name}: the harness ended without writing its results"
        raise ResultsError(msg, hint="its log says why (`nel-action logs`)") from error
    except OSError as error:
        msg = f"cannot read {path}: {error.strerror or error}"
        raise ResultsError(msg) from error
    except (ValueError, RecursionError) as error:
        msg = f"{path.name} is not whole JSON: {error}"
        raise ResultsError(msg, hint="the job may have been ended while writing, or its disk was full") from error
    if not isinstance(data, dict):
        msg = f"{path.name} holds a {type(data).__name__}, not an object"
        raise ResultsError(msg)
    return data


def json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Stream the objects of a JSON-lines file with their line numbers, which count from 1.

    Raises:
        ResultsError: a line is no whole object, or the last one was cut off.
    """
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                yield number, _parse_line(path, number, line)
    except OSError as error:
        msg = f"cannot read {path}: {error.strerror or error}"
        raise ResultsError(msg) from error


def _parse_line(path: Path, number: int, line: bytes) -> dict[str, Any]:
    try:
        data = json.loads(line)
    except (ValueError, RecursionError) as error:
        msg = f"{path.name}, line {number}, is not whole JSON"
        raise ResultsError(msg, hint="the job may have been ended while writing, or its disk was full") from error
    if not isinstance(data, dict):
        msg = f"{path.name}, line {number}, holds no object"
        raise ResultsError(msg)
    return data


@contextmanager
def shaped(what: str) -> Iterator[None]:
    """Tell of files that are whole and yet not of the known shape; their every value is somebody else's.

    Raises:
        ResultsError: in place of whatever a value of another kind than expected leads to.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        msg = f"{what} is not of the shape that this version reads: {' '.join(str(error).split())[:200]}"
        raise ResultsError(msg, hint="was it written by another version of the harness?") from error


def only_file(paths: Iterable[Path], *, wanted: str) -> Path:
    """Return the one file there is.

    Raises:
        ResultsError: there is none, or more than one, of which the older could be an earlier run's.
    """
    found = sorted(paths)
    if len(found) == 1:
        return found[0]
    if not found:
        msg = f"no {wanted}: the harness ended without writing its results"
        raise ResultsError(msg, hint="its log says why (`nel-action logs`)")
    names = ", ".join(path.name for path in found)
    msg = f"{len(found)} files are {wanted} ({names}); which of them is this run's cannot be told"
    raise ResultsError(msg, hint="the output directory was not empty at the start; run the task again")


def choose_metric(wanted: str | None, names: Sequence[str]) -> str | None:
    """Return the metric that stands for the task.

    What the spec or catalog wants comes first: the full name (`exact_match,strict`, `score.micro`, `match.accuracy`),
    or a part of it (`exact_match`, `accuracy`) where only one fits. A wanted metric that is not there is returned as it
    is: its absence must be seen, not covered by another metric. With none wanted it is the harness's first.
    """
    if wanted is None:
        return names[0] if names else None
    fitting = [name for name in names if name.startswith((f"{wanted},", f"{wanted}.")) or name.endswith(f".{wanted}")]
    return fitting[0] if wanted not in names and len(fitting) == 1 else wanted


def clip(value: object, size: int = 4000) -> str | None:
    """Return text of at most `size` characters: its end, where the question and the answer are."""
    whole_text = None if value is None else str(value)
    return whole_text if whole_text is None or len(whole_text) <= size else f"…{whole_text[1 - size :]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedResult:
    """What a harness left, in our words. `problem` is set when that is not a whole result."""

    scores: tuple[Score, ...] = ()
    primary_metric: str | None = None
    n_items: int | None = None
    n_expected: int | None = None
    harness_version: str | None = None
    task_version: str | None = None
    task_hash: str | None = None
    n_shot: int | None = None
    chat_template: str | None = None
    usage: Mapping[str, float] = field(default_factory=dict)
    """As `TaskResult.usage`."""
    samples: Iterable[Sample] | None = None
    """Streamed once; None where the harness keeps none."""
