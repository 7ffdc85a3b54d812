"""Samples of both sides side by side, compressed for a page that opens them piece by piece."""

from __future__ import annotations

import gzip
import json
from base64 import b64encode
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Final

from nel_action.model.results import Sample, read_samples

__all__ = ["CHUNK", "Packed", "pack"]

CHUNK: Final = 1_000
"""Samples that the page opens at once."""
_TEXT_BUDGET: Final = 200_000_000
_LONGEST: Final = 20_000
_SHORTEST: Final = 500

Key = tuple[str, int]
Texts = list[Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Packed:
    """One task's samples: an index that is opened at once, and chunks of text that are opened when seen."""

    index: str
    """Base64 of gzipped JSON: ids, scores of both sides."""
    chunks: tuple[str, ...]
    """The same, of each thousand samples' texts."""
    count: int
    left_out: int


def pack(
    candidate: Path, baseline: Path | None, *, metric: str | None, higher_is_better: bool | None, budget: int
) -> Packed:
    """Read both sides and pack at most `budget` samples: those that got worse first, then better, then the rest.

    Raises:
        ResultsError: a file is missing, truncated or holds something else.
    """
    ours, name = _scores(candidate, metric)
    theirs, _ = _scores(baseline, name) if baseline else ({}, name)
    keys = [*ours, *(key for key in theirs if key not in ours)]
    chosen = _chosen(keys, ours, theirs, sign=-1 if higher_is_better is False else 1, budget=budget)
    cut = int(min(max(_TEXT_BUDGET / (3 * max(len(chosen), 1)), _SHORTEST), _LONGEST))
    before = {_key(one): _texts(one, cut) for one in read_samples(baseline) if _key(one) in chosen} if baseline else {}
    ordered: list[Key] = []
    chunks = tuple(_chunks(_pairs(candidate, chosen, before, cut), ordered))
    index = {
        "metric": name,
        "higher": higher_is_better is not False,
        "ids": [identity if not repeat else f"{identity} #{repeat + 1}" for identity, repeat in ordered],
        "ours": [ours.get(key) for key in ordered],
        "theirs": [theirs.get(key) for key in ordered] if baseline else None,
        "size": CHUNK,
    }
    return Packed(index=_squeezed(index), chunks=chunks, count=len(ordered), left_out=len(keys) - len(ordered))


def _key(sample: Sample) -> Key:
    return sample.id, sample.repeat


def _scores(path: Path, metric: str | None) -> tuple[dict[Key, float | None], str | None]:
    """Read scores alone; where the samples do not know the metric, by the first one that they know."""
    found: dict[Key, float | None] = {}
    for sample in read_samples(path):
        if not found and metric not in sample.scores:
            metric = next(iter(sample.scores), metric)
        found[_key(sample)] = sample.scores.get(metric) if metric else None
    return found, metric


def _chosen(
    keys: Sequence[Key],
    ours: dict[Key, float | None],
    theirs: dict[Key, float | None],
    *,
    sign: int,
    budget: int,
) -> Collection[Key]:
    def rank(key: Key) -> int:
        new, old = ours.get(key), theirs.get(key)
        if new is None or old is None or new == old:
            return 2
        return 0 if (new - old) * sign < 0 else 1

    return set(keys) if len(keys) <= budget else set(sorted(keys, key=rank)[:budget])


def _pairs(
    candidate: Path, chosen: Collection[Key], before: dict[Key, Texts], cut: int
) -> Iterator[tuple[Key, Texts | None, Texts | None]]:
    seen = set()
    for sample in read_samples(candidate):
        key = _key(sample)
        if key in chosen and key not in seen:
            seen.add(key)
            yield key, _texts(sample, cut), before.get(key)
    for key, texts in before.items():
        if key not in seen:
            yield key, None, texts


def _texts(sample: Sample, cut: int) -> Texts:
    return [*(_cut(text, cut) for text in (sample.input, sample.expected, sample.output)), sample.scores]


def _cut(text: str | None, limit: int) -> str | None:
    if text is None or len(text) <= limit:
        return text
    return f"{text[:limit]}… ({len(text) - limit:,} more characters)"


def _chunks(pairs: Iterator[tuple[Key, Texts | None, Texts | None]], ordered: list[Key]) -> Iterator[str]:
    while piece := list(islice(pairs, CHUNK)):
        ordered += [key for key, _, _ in piece]
        yield _squeezed([_line(new, old) for _, new, old in piece])


def _line(new: Texts | None, old: Texts | None) -> Texts:
    """Put both sides in one line: question, expected answer, both answers, all scores of both."""
    some = new or old or [None, None, None, {}]
    return [some[0], some[1], new[2] if new else None, old[2] if old else None, new and new[3], old and old[3]]


def _squeezed(data: object) -> str:
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    # NOTE: mtime=0 so that equal results make an equal page; a lone surrogate becomes a visible sign.
    return b64encode(gzip.compress(text.encode("utf-8", "replace"), compresslevel=4, mtime=0)).decode()
