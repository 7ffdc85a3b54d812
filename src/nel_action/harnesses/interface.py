"""What a harness is: how to call it, what it needs, how to read what it leaves.

A harness never runs anything itself and never decides where it runs. It turns a task and a binding into a
command, and a directory of artifacts into a reading.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Protocol

from nel_action.errors import Problem
from nel_action.formats.parsing import ParsedResult
from nel_action.model.task import HarnessTask, Progress

__all__ = ["Binding", "Command", "Harness"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """What is known only where the job runs. All paths are as the harness will see them."""

    url: str
    """Full URL of the route (`http://127.0.0.1:8000/v1/chat/completions`)."""
    model_id: str
    output_dir: PurePosixPath
    """Where artifacts go; exists, empty, writable."""
    work_dir: PurePosixPath
    """Where the command's files are; the working directory."""
    api_key_name: str | None = None
    """Name of the variable that holds the key in the harness's environment."""
    task_dir: PurePosixPath | None = None
    """Where the task's own folder is."""
    own_port: int | None = None
    """A port of the machine for what the harness serves itself; None where it has a network of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to run: words, never shell text."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    """Plain variables, no secrets."""
    secret_env: Mapping[str, str] = field(default_factory=dict)
    """Variable that the harness reads → variable that holds the value (`OPENAI_API_KEY` → `MODEL_API_KEY`)."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Text files to be in `work_dir`, by relative path; no secrets."""


class Harness(Protocol):
    """One program that runs benchmarks."""

    @property
    def name(self) -> str:
        """The word in a spec's `harness:`."""

    @property
    def requirements(self) -> Path | None:
        """Hashed requirements of the environment that it runs in without a container; None where it needs none."""

    def check(self, task: HarnessTask) -> Sequence[Problem]:
        """Say what of this task the harness cannot do, before anything is run."""

    def command(self, task: HarnessTask, binding: Binding) -> Command:
        """Build the command; a pure function."""

    def progress(self, artifacts: Path, log_tail: str) -> Progress | None:
        """Read how far a running job is from its artifacts so far and the last few KiB of its log."""

    def read(self, task: HarnessTask, artifacts: Path) -> ParsedResult:
        """Read what a finished job left.

        Raises:
            ResultsError: files are missing, truncated, malformed, or hold no finite score.
        """
