"""What all result formats share: the parsed result, and strict parsing of files and values."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from nel_action.errors import ResultsError
from nel_action.files import without_surrogates
from nel_action.model.results import Sample, Score
from nel_action.model.task import EndpointType, HarnessTask, Params

__all__ = [
    "SEE_LOGS",
    "TEXT_LIMIT",
    "TRUNCATED",
    "DetectedResult",
    "ParsedResult",
    "SampleColumns",
    "as_mapping",
    "decode_json",
    "expected_items",
    "find_files",
    "limited_count",
    "load_json",
    "matching_metrics",
    "nearly_equal",
    "parse_count",
    "parse_float",
    "parse_text",
    "read_content",
    "read_json_lines",
    "recorded_task",
    "reject_lfs_pointer",
    "schema_guard",
    "select_primary_metric",
    "single_file",
    "truncate_text",
    "with_direction",
]

SEE_LOGS: Final = "the log has the cause: `nel-action logs`"
TEXT_LIMIT: Final = 4000
"""Characters of a prompt or answer that are kept."""
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
"""The escape of half a surrogate pair."""
LFS_POINTER: Final = b"version https://git-lfs.github.com/spec/"
"""Start of the text file that Git stores in place of a large file."""
TRUNCATED: Final = "the job may have been stopped while writing, or its disk was full"
"""Hints that several formats give."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleColumns:
    """The samples of a result as columns, without repeats and texts."""

    ids: Sequence[str]
    inputs: Sequence[int]
    """Hash of each item's prompt as in `Sample.input`; 0 without one."""
    values: Mapping[str, Sequence[float]]
    """Metric → value of each item; NaN for an item without one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedResult:
    """The result of one task, as its files report it."""

    scores: tuple[Score, ...] = ()
    missing_scores: tuple[str, ...] = ()
    """Metrics without a finite value."""
    primary_metric: str | None = None
    """Selected from all metrics, with or without a finite value."""
    n_items: int | None = None
    """Evaluated items."""
    n_expected: int | None = None
    """Items that a complete run evaluates."""
    harness_version: str | None = None
    task_version: str | None = None
    task_hash: str | None = None
    n_shot: int | None = None
    chat_template: str | None = None
    usage: Mapping[str, float] = field(default_factory=dict)
    """As `TaskResult.usage`."""
    samples: Iterable[Sample] | None = None
    """Can be iterated once; None if the files contain none."""
    sample_metrics: Collection[str] | None = None
    """Metrics that the samples have values of; None: those of the first sample."""
    columns: SampleColumns | None = None
    """The same samples as columns, if the reader has them."""

    def task_fields(self) -> dict[str, Any]:
        """Return the fields of `TaskResult` that the files determine."""
        return {
            "scores": self.scores,
            "missing_scores": self.missing_scores,
            "primary_metric": self.primary_metric,
            "n_items": self.n_items,
            "n_expected": self.n_expected,
            "harness_version": self.harness_version,
            "task_version": self.task_version,
            "task_hash": self.task_hash,
            "n_shot": self.n_shot,
            "chat_template": self.chat_template,
            "usage": dict(self.usage),
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectedResult:
    """The result of one task, found in files that may come from another program."""

    task: HarnessTask
    """As recorded in the files."""
    artifacts: Path
    """File or directory to pass to `read`."""
    model: str = ""
    """Name of the evaluated model; empty if the files do not contain it."""
    part_of: str | None = None
    """Group with a score of its own that the task belongs to; the task is judged only if the policy names it."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """As `TaskResult.params`; contains `limit_samples` if the files do."""


def recorded_task(name: str, *, display: str | None = None, limit: float | None = None) -> HarnessTask:
    """Return the task of a detected result.

    Args:
        name: the task's name in its harness.
        display: the task's name in reports, by default `name`.
        limit: the limit that the run was made with, as recorded.
    """
    # NOTE: no reader uses the endpoint type; result files do not record it.
    params = Params(limit_samples=limit)
    return HarnessTask(name=name, display=display or name, endpoint_type=EndpointType.CHAT, params=params)


def find_files(path: Path, patterns: Sequence[str]) -> list[Path]:
    """Return the files of the first pattern that matches any, sorted.

    Args:
        path: a directory to search, or a file to match against the patterns.
        patterns: glob patterns relative to the directory, the most specific first.
    """
    if not path.is_dir():
        return [path] if any(path.match(pattern) for pattern in patterns) else []
    return next((files for pattern in patterns if (files := sorted(path.glob(pattern)))), [])


def single_file(paths: Iterable[Path], *, kind: str) -> Path:
    """Return the only file of a run.

    Args:
        paths: the files that match.
        kind: what they are, for the message.

    Raises:
        ResultsError: there is no file, or there are several, some of which may belong to an earlier run.
    """
    files = sorted(paths)
    if len(files) == 1:
        return files[0]
    if not files:
        msg = f"no {kind}: the harness exited without writing its results"
        raise ResultsError(msg, hint=SEE_LOGS)
    msg = f"{len(files)} files match {kind}: {', '.join(path.name for path in files)}; expected the file of one run"
    raise ResultsError(msg, hint="the output directory was not empty at the start; run the task again")


def decode_json(content: bytes) -> Any:  # noqa: ANN401 - JSON
    """Parse JSON as Python's library does, also NaN; halves of surrogate pairs become U+FFFD.

    Raises:
        ValueError: it is not JSON.
    """
    data = json.loads(content)
    return without_surrogates(data) if _SURROGATE.search(content) else data


def load_json(path: Path) -> dict[str, Any]:
    """Read a JSON object.

    Raises:
        ResultsError: the file is missing, unreadable, truncated or not an object.
    """
    content = read_content(path)
    try:
        data = decode_json(content)
    except (ValueError, RecursionError) as error:
        msg = f"{path.name} is not valid JSON: {error}"
        raise ResultsError(msg, hint=TRUNCATED) from error
    if not isinstance(data, dict):
        msg = f"{path.name} contains a {type(data).__name__}; expected a JSON object"
        raise ResultsError(msg)
    return data


def read_content(path: Path) -> bytes:
    """Read a result file.

    Raises:
        ResultsError: the file is missing, unreadable, or only the pointer of Git LFS to it.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError as error:
        msg = f"no {path.name}: the harness exited without writing its results"
        raise ResultsError(msg, hint=SEE_LOGS) from error
    except (OSError, ValueError) as error:
        msg = f"cannot read {path}: {getattr(error, 'strerror', None) or error}"
        raise ResultsError(msg) from error
    reject_lfs_pointer(path, content)
    return content


def reject_lfs_pointer(path: Path, content: bytes) -> None:
    """Reject the pointer of Git LFS to a file.

    Raises:
        ResultsError: the content is a pointer.
    """
    if content.startswith(LFS_POINTER):
        msg = f"{path.name} is a pointer of Git LFS, not the file itself"
        raise ResultsError(msg, hint="run `git lfs pull`, or check out with `lfs: true`")


def read_json_lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Stream the objects of a JSON Lines file with their line numbers, counted from 1.

    Raises:
        ResultsError: the file is unreadable, or a line is truncated or not an object.
    """
    try:
        with path.open("rb") as lines:
            for number, line in enumerate(lines, start=1):
                yield number, _parse_line(path, number, line)
    except OSError as error:
        msg = f"cannot read {path}: {error.strerror or error}"
        raise ResultsError(msg) from error


def _parse_line(path: Path, number: int, line: bytes) -> dict[str, Any]:
    reject_lfs_pointer(path, line)
    try:
        data = decode_json(line)
    except (ValueError, RecursionError) as error:
        msg = f"{path.name}, line {number}, is not valid JSON"
        raise ResultsError(msg, hint=TRUNCATED) from error
    if not isinstance(data, dict):
        msg = f"{path.name}, line {number}, contains a {type(data).__name__}; expected a JSON object"
        raise ResultsError(msg)
    return data


@contextmanager
def schema_guard(source: str) -> Iterator[None]:
    """Report values of unexpected types in a file that another program wrote.

    Args:
        source: the file, for the message.

    Raises:
        ResultsError: instead of any error that such a value causes.
    """
    try:
        yield
    except (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError) as error:
        msg = f"{source} does not have the expected structure: {' '.join(str(error).split())[:200]}"
        raise ResultsError(msg, hint="it may come from an unsupported version of the harness") from error


def parse_float(value: object) -> float | None:
    """Return a finite number as a float; None for NaN, infinities, booleans, text such as "N/A" and other types."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


def parse_count(value: object) -> int | None:
    """Return a non-negative integral number as an int; None for everything else."""
    number = parse_float(value)
    return int(number) if number is not None and number >= 0 and number == int(number) else None


def parse_text(value: object) -> str | None:
    """Return a version, digest or name as text; None for missing values: "", "N/A", None and other types."""
    return str(value) if isinstance(value, str | int | float) and str(value) not in {"", "N/A"} else None


def as_mapping(value: object) -> Mapping[str, Any]:
    """Return a JSON or YAML mapping; an empty one for every other type."""
    return value if isinstance(value, dict) else {}


def nearly_equal(left: float, right: float) -> bool:
    """Return whether two values agree to 1e-6, relative above 1."""
    return abs(left - right) <= 1e-6 * max(1.0, abs(left))


def truncate_text(value: object, size: int = TEXT_LIMIT) -> str | None:
    """Return text of at most `size` characters; keep its end, which contains the question and the answer."""
    text = None if value is None else str(value)
    return text if text is None or len(text) <= size else f"…{text[1 - size :]}"


def limited_count(total: int, limit: float | None) -> int:
    """Return how many of `total` items a limit selects: a count, or a proportion below 1, rounded up."""
    if limit is None:
        return total
    return min(total, math.ceil(total * limit) if limit < 1 else int(limit))


def expected_items(declared: int | None, reported: int | None, limit: float | None) -> int | None:
    """Return how many items a complete run evaluates.

    Args:
        declared: size of the data set by the spec or the catalog; takes precedence.
        reported: size of the data set as the harness reports it.
        limit: `limit_samples` of the run.

    Returns:
        None if neither size is known and the limit is not a count.
    """
    total = declared if declared is not None else reported
    if total is None:
        return int(limit) if limit is not None and limit >= 1 else None
    return limited_count(total, limit)


def select_primary_metric(requested: str | None, names: Sequence[str]) -> str | None:
    """Return the metric that represents the task.

    Args:
        requested: metric of the spec or the catalog: a full name (`exact_match,strict`, `score.micro`,
            `match.accuracy`), or a part of one (`exact_match`, `accuracy`) that matches a single name.
        names: metrics of the result, in the harness's order.

    Returns:
        The requested metric, even if the result does not contain it: another metric must not replace it. Without a
        request, the first name.
    """
    if requested is None:
        return names[0] if names else None
    matches = matching_metrics(requested, names)
    return matches[0] if requested not in names and len(matches) == 1 else requested


def matching_metrics(part: str, names: Sequence[str]) -> list[str]:
    """Return the metrics of which a name is a part: without the filter (`exact_match`), scorer or key (`accuracy`)."""
    prefixes, suffix, inner = (f"{part},", f"{part}."), f".{part}", (f".{part}.", f".{part},")
    return [
        name
        for name in names
        if name.startswith(prefixes) or name.endswith(suffix) or any(infix in name for infix in inner)
    ]


def with_direction(scores: Iterable[Score], metric: str | None, *, higher_is_better: bool | None) -> tuple[Score, ...]:
    """Set the direction of a metric where its score has none.

    Args:
        scores: scores of one task.
        metric: the metric that the direction applies to.
        higher_is_better: direction by the spec or the catalog; None changes nothing.
    """
    if higher_is_better is None:
        return tuple(scores)
    return tuple(
        score.model_copy(update={"higher_is_better": higher_is_better})
        if score.metric == metric and score.higher_is_better is None
        else score
        for score in scores
    )
