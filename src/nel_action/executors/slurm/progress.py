"""How far running jobs are: read for all of them by a few programs in the round trip that is made anyhow."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Final

from nel_action.errors import NelActionError
from nel_action.executors.slurm.layout import JobDir
from nel_action.executors.slurm.transport import Finished
from nel_action.model.task import Progress

__all__ = ["ProgressReader"]

MOST: Final = 200
"""Running jobs that are looked into at a time: a file system shared by a whole cluster is not to be asked more."""

TAIL: Final = 2048
"""Bytes of each log."""

FILES: Final = ("progress", "progress.json")
"""Among the artifacts, where harnesses keep a count."""


@dataclass
class ProgressReader:
    """Knows which harness runs where, once it has looked."""

    harnesses: dict[str, str] = field(default_factory=dict)
    """Directory → name of the harness."""

    def commands(self, places: Sequence[JobDir]) -> list[list[str]]:
        """Return what to run there: three programs, whatever the number of jobs."""
        some = places[:MOST]
        unknown = [f"{place.path}/job.json" for place in some if str(place.path) not in self.harnesses]
        return [
            ["grep", "-Hs", '"harness":', "/dev/null", *unknown],
            ["grep", "-Hs", ".", "/dev/null", *(f"{place.run}/artifacts/{name}" for place in some for name in FILES)],
            ["tail", "-v", "-c", str(TAIL), "--", "/dev/null", *(str(place.client_log) for place in some)],
        ]

    def read(self, places: Sequence[JobDir], answers: Sequence[Finished]) -> Mapping[str, Progress]:
        """Return how far each is, by directory; those that do not say are left out."""
        about, counts, logs = answers
        for path, text in _lines(about.text):
            if (found := re.search(r'"harness":\s*"([^"]+)"', text)) is not None:
                self.harnesses[path.removesuffix("/job.json")] = found[1]
        files: dict[str, str] = {}
        for path, text in _lines(counts.text):
            files[path] = f"{files.get(path, '')}{text}\n"
        tails = _split(logs.text, [str(place.client_log) for place in places[:MOST]])
        seen = {}
        for place in places[:MOST]:
            own = {name: files.get(f"{place.run}/artifacts/{name}") for name in FILES}
            progress = _progress(self.harnesses.get(str(place.path)), own, tails.get(str(place.client_log), ""))
            if progress is not None:
                seen[str(place.path)] = progress
        return seen


def _lines(text: str) -> Iterator[tuple[str, str]]:
    """Take lines of `grep -H` apart; our directories have no colon behind the name of a file."""
    for line in text.splitlines():
        found = re.match(r"(/.*?/nel-[0-9a-f]+-\d+/[^:]+):(.*)", line)
        if found is not None:
            yield found[1], found[2]


def _split(text: str, paths: Sequence[str]) -> dict[str, str]:
    """Take the answer of `tail -v` apart. What a log says in a header's place can only confuse its own progress."""
    marks = [(text.find(f"==> {path} <==\n"), path) for path in paths]
    known = sorted((at, path) for at, path in marks if at >= 0)
    ends = [*known, (len(text), "")]
    return {path: text[at:end] for (at, path), (end, _) in pairwise(ends)}


def _progress(name: str | None, files: Mapping[str, str | None], log: str) -> Progress | None:
    from nel_action.harnesses.registry import harness

    if name is None:
        return None
    with tempfile.TemporaryDirectory(prefix="nel-progress-") as folder:
        for file, text in files.items():
            if text is not None:
                (Path(folder) / file).write_text(text)
        try:
            return harness(name).progress(Path(folder), log)
        except (NelActionError, json.JSONDecodeError):
            return None
