"""Samples of candidate and baseline, paired and compressed for a page that decompresses them as needed."""

from __future__ import annotations

import gzip
import json
from base64 import b64encode
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from nel_action.formatting import count
from nel_action.model.results import Sample, read_samples

__all__ = ["CHUNK_SIZE", "PackedSamples", "pack_samples"]

CHUNK_SIZE: Final = 1_000
"""Samples that the page decompresses at once."""
_MAX_TEXT: Final = 200_000_000
"""Characters of all texts of a task, about."""
_LONGEST: Final = 20_000
_SHORTEST: Final = 500

Key = tuple[str, int]
"""Item id and repeat."""
Texts = list[Any]
"""Question, expected answer, answer, scores."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedSamples:
    """Samples of one task: an index for filtering, and the texts in chunks."""

    index: str
    """Base64 of gzipped JSON: ids, and scores of both sides."""
    chunks: tuple[str, ...]
    """Base64 of gzipped JSON: the texts of `CHUNK_SIZE` samples each."""
    count: int
    left_out: int


def pack_samples(
    candidate: Path, baseline: Path | None, *, metric: str | None, higher_is_better: bool | None, limit: int
) -> PackedSamples:
    """Pair the samples of both sides and pack them; those that got worse are kept first, then better, then the rest.

    Args:
        candidate: samples file of the candidate.
        baseline: samples file of the baseline, if there is one.
        metric: metric to compare by; the first one of the samples if they do not have it.
        higher_is_better: direction of the metric; None counts as higher.
        limit: samples at most.

    Raises:
        ResultsError: a file is missing, truncated or malformed.
    """
    new_scores, name = _read_scores(candidate, metric)
    old_scores, _ = _read_scores(baseline, name) if baseline else ({}, name)
    keys = [*new_scores, *(key for key in old_scores if key not in new_scores)]
    chosen = _choose(keys, new_scores, old_scores, sign=-1 if higher_is_better is False else 1, limit=limit)
    max_length = int(min(max(_MAX_TEXT / (3 * max(len(chosen), 1)), _SHORTEST), _LONGEST))
    old_texts = (
        {_key(sample): _texts(sample, max_length) for sample in read_samples(baseline) if _key(sample) in chosen}
        if baseline
        else {}
    )
    ordered: list[Key] = []
    chunks = tuple(_chunks(_pairs(candidate, chosen, old_texts, max_length), ordered))
    index = {
        "metric": name,
        "higher": higher_is_better is not False,
        "ids": [item if not repeat else f"{item} #{repeat + 1}" for item, repeat in ordered],
        "candidate": [new_scores.get(key) for key in ordered],
        "baseline": [old_scores.get(key) for key in ordered] if baseline else None,
        "size": CHUNK_SIZE,
    }
    return PackedSamples(index=_compress(index), chunks=chunks, count=len(ordered), left_out=len(keys) - len(ordered))


def _key(sample: Sample) -> Key:
    return sample.id, sample.repeat


def _read_scores(path: Path, metric: str | None) -> tuple[dict[Key, float | None], str | None]:
    """Read the scores alone, and the name of the metric that they are of."""
    scores: dict[Key, float | None] = {}
    for sample in read_samples(path):
        if not scores and metric not in sample.scores:
            metric = next(iter(sample.scores), metric)
        scores[_key(sample)] = sample.scores.get(metric) if metric else None
    return scores, metric


def _choose(
    keys: Sequence[Key],
    new_scores: dict[Key, float | None],
    old_scores: dict[Key, float | None],
    *,
    sign: int,
    limit: int,
) -> Collection[Key]:
    def rank(key: Key) -> int:
        new, old = new_scores.get(key), old_scores.get(key)
        if new is None or old is None or new == old:
            return 2
        return 0 if (new - old) * sign < 0 else 1

    return set(keys) if len(keys) <= limit else set(sorted(keys, key=rank)[:limit])


def _pairs(
    candidate: Path, chosen: Collection[Key], old_texts: dict[Key, Texts], max_length: int
) -> Iterator[tuple[Key, Texts | None, Texts | None]]:
    """Yield key, texts of the candidate and texts of the baseline, items of the baseline alone last."""
    seen = set()
    for sample in read_samples(candidate):
        key = _key(sample)
        if key in chosen and key not in seen:
            seen.add(key)
            yield key, _texts(sample, max_length), old_texts.get(key)
    for key, texts in old_texts.items():
        if key not in seen:
            yield key, None, texts


def _texts(sample: Sample, max_length: int) -> Texts:
    texts = (sample.input, sample.expected, sample.output)
    return [*(_truncate(text, max_length) for text in texts), sample.scores]


def _truncate(text: str | None, max_length: int) -> str | None:
    if text is None or len(text) <= max_length:
        return text
    return f"{text[:max_length]}… ({count(len(text) - max_length)} more characters)"


def _chunks(pairs: Iterator[tuple[Key, Texts | None, Texts | None]], ordered: list[Key]) -> Iterator[str]:
    """Yield compressed chunks, and append their keys to `ordered`."""
    while chunk := list(islice(pairs, CHUNK_SIZE)):
        ordered += [key for key, _, _ in chunk]
        yield _compress([_entry(new, old) for _, new, old in chunk])


def _entry(new: Texts | None, old: Texts | None) -> Texts:
    """Return question, expected answer, both answers and both sides' scores."""
    either = new or old or [None, None, None, {}]
    return [either[0], either[1], new[2] if new else None, old[2] if old else None, new and new[3], old and old[3]]


def _compress(data: object) -> str:
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    # NOTE: mtime=0, so that equal results give equal pages; a lone surrogate becomes a question mark.
    return b64encode(gzip.compress(text.encode("utf-8", "replace"), compresslevel=4, mtime=0)).decode()
