"""Progress of running jobs, read with a fixed number of commands in the round trip that polls them."""

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
from nel_action.executors.slurm.layout import AttemptDir
from nel_action.executors.slurm.transport import CommandResult
from nel_action.model.task import Progress

__all__ = ["MAX_JOBS", "PROGRESS_MARK", "ProgressReader"]

MAX_JOBS: Final = 200
"""Running jobs per poll whose progress is read, to limit the load on the cluster's shared file system."""

TAIL_BYTES: Final = 2048
"""Bytes read from the end of each log."""

PROGRESS_MARK: Final = "\nnel-action: start "
"""Begins the line that a continued job writes to the log of its harness; the progress before it is outdated."""

PROGRESS_FILES: Final = ("progress", "progress.json")
"""Artifacts in which harnesses record their progress."""


@dataclass
class ProgressReader:
    """Reads the progress of attempts and remembers the harness of each."""

    harnesses: dict[str, str] = field(default_factory=dict)
    """Attempt directory → name of the harness."""

    def commands(self, directories: Sequence[AttemptDir]) -> list[list[str]]:
        """Return three commands that read the progress of up to `MAX_JOBS` attempts."""
        read = directories[:MAX_JOBS]
        unknown = [f"{each.path}/job.json" for each in read if str(each.path) not in self.harnesses]
        counts = [f"{each.run}/artifacts/{name}" for each in read for name in PROGRESS_FILES]
        return [
            ["grep", "-Hs", '"harness":', "/dev/null", *unknown],
            ["grep", "-Hs", ".", "/dev/null", *counts],
            ["tail", "-v", "-c", str(TAIL_BYTES), "--", "/dev/null", *(str(each.client_log) for each in read)],
        ]

    def parse(self, directories: Sequence[AttemptDir], results: Sequence[CommandResult]) -> Mapping[str, Progress]:
        """Parse the results of `commands`.

        Args:
            directories: the arguments of `commands`.
            results: one result per command.

        Returns:
            Progress by directory; attempts without known progress are omitted.
        """
        job_files, counts, logs = results
        for path, text in _grep_lines(job_files.text):
            if (match := re.search(r'"harness":\s*"([^"]+)"', text)) is not None:
                self.harnesses[path.removesuffix("/job.json")] = match[1]
        files: dict[str, str] = {}
        for path, text in _grep_lines(counts.text):
            files[path] = f"{files.get(path, '')}{text}\n"
        tails = _split_tails(logs.text, [str(each.client_log) for each in directories[:MAX_JOBS]])
        progress_by_path = {}
        for each in directories[:MAX_JOBS]:
            artifacts = {name: files.get(f"{each.run}/artifacts/{name}") for name in PROGRESS_FILES}
            log = tails.get(str(each.client_log), "").rpartition(PROGRESS_MARK)[2]
            progress = _parse_progress(self.harnesses.get(str(each.path)), artifacts, log)
            if progress is not None:
                progress_by_path[str(each.path)] = progress
        return progress_by_path


def _grep_lines(text: str) -> Iterator[tuple[str, str]]:
    """Split lines of `grep -H` into path and text; paths have no colon after the attempt's name."""
    for line in text.splitlines():
        match = re.match(r"(/.*?/nel-[0-9a-f]+-\d+/[^:]+):(.*)", line)
        if match is not None:
            yield match[1], match[2]


def _split_tails(text: str, paths: Sequence[str]) -> dict[str, str]:
    """Split the output of `tail -v` by file; a header forged in a log affects the progress of that job only."""
    positions = [(text.find(f"==> {path} <==\n"), path) for path in paths]
    present = sorted((position, path) for position, path in positions if position >= 0)
    bounds = [*present, (len(text), "")]
    return {path: text[start:end] for (start, path), (end, _) in pairwise(bounds)}


def _parse_progress(name: str | None, files: Mapping[str, str | None], log: str) -> Progress | None:
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
