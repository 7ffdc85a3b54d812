"""The interface of a harness: a program that runs benchmarks.

A harness never starts a process and does not depend on where jobs run. It turns a task and a binding into a command,
and artifacts into a parsed result.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Protocol

from nel_action.errors import Problem
from nel_action.formats.parsing import DetectedResult, ParsedResult
from nel_action.model.task import HarnessTask, Progress

__all__ = ["Binding", "Command", "DetectedResult", "Harness", "ParsedResult"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """Values that are known only where the job runs; paths as the harness sees them."""

    url: str
    """Full URL of the route (`http://127.0.0.1:8000/v1/chat/completions`)."""
    model_id: str
    output_dir: PurePosixPath
    """Directory for artifacts: exists, is empty and writable."""
    work_dir: PurePosixPath
    """Working directory, which contains the command's files."""
    api_key_name: str | None = None
    """Name of the variable that contains the API key in the harness's environment."""
    task_dir: PurePosixPath | None = None
    """Directory with the task's own files."""
    own_port: int | None = None
    """Port for servers of the harness itself; None if it has its own network."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """A program to run, as an argument list; no shell parses it."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    """Variables without secrets."""
    secret_env: Mapping[str, str] = field(default_factory=dict)
    """Variable that the harness reads → variable that contains the value (`OPENAI_API_KEY` → `MODEL_API_KEY`)."""
    files: Mapping[str, str] = field(default_factory=dict)
    """Text files to write to `work_dir`, by relative path; without secrets."""


class Harness(Protocol):
    """One program that runs benchmarks.

    Derive from this class; `name`, `command` and `read` are required, the rest has defaults.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """Value of a task's `harness:` in a spec."""

    @property
    def requirements(self) -> Path | None:
        """Hashed requirements of the environment for runs without a container; None if the harness needs none."""
        return None

    @property
    def starts_over(self) -> bool:
        """Whether each start evaluates all items anew, so that files of an interrupted run must move away first."""
        return False

    @property
    def counts_requests(self) -> bool:
        """Whether `progress` returns requests, not items."""
        return False

    def check(self, task: HarnessTask) -> Sequence[Problem]:  # noqa: ARG002 a default
        """Return what the harness does not support in a task, before anything runs."""
        return ()

    @abstractmethod
    def command(self, task: HarnessTask, binding: Binding) -> Command:
        """Build the command; a pure function."""

    def progress(self, artifacts: Path, log_tail: str) -> Progress | None:  # noqa: ARG002 a default
        """Return the progress of a running job.

        Args:
            artifacts: directory with the artifacts written so far.
            log_tail: the last few KiB of the log.

        Returns:
            None if it is not known.
        """
        return None

    @abstractmethod
    def read(self, task: HarnessTask, artifacts: Path) -> ParsedResult:
        """Read the result of a finished job, or of a result that `detect` returned.

        Args:
            task: the task as it was requested, or as it was detected.
            artifacts: directory with the job's artifacts, or the path of the detected result.

        Raises:
            ResultsError: files are missing, truncated, malformed, or contain no finite score.
        """

    def detect(self, path: Path) -> Sequence[DetectedResult]:  # noqa: ARG002 a default
        """Find results of this harness in files that may come from another program, for `nel-action gate`.

        Args:
            path: a file, or a directory that may contain the results of several tasks.

        Returns:
            One entry per task; empty if the files are of another format.

        Raises:
            ResultsError: a file that is certainly of this format is truncated or malformed.
        """
        return ()
