"""A benchmark task with all its parameters, as a harness receives it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

__all__ = ["EndpointType", "HarnessTask", "Params", "Progress"]


class EndpointType(StrEnum):
    """Which OpenAI-compatible route a benchmark speaks to."""

    CHAT = "chat"
    COMPLETIONS = "completions"
    COMPLETIONS_LOGPROBS = "completions_logprobs"
    EMBEDDING = "embedding"
    VLM = "vlm"


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """What is always passed to a harness, never left to its own defaults."""

    limit_samples: int | float | None = None
    """Items to evaluate: a count, or a share below 1; None is all of them."""
    parallelism: int = 4
    """Requests at once."""
    request_timeout: float = 600.0
    """Seconds for one request."""
    max_retries: int = 5
    """Tries of one request after the first."""
    seed: int = 1234
    """Of everything random in the harness."""
    temperature: float | None = None
    """Sampling temperature; None leaves the benchmark's own."""
    top_p: float | None = None
    """Nucleus mass; None leaves the benchmark's own."""
    max_new_tokens: int | None = None
    """Tokens of an answer; None leaves the benchmark's own."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """What only this harness or task knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HarnessTask:
    """One benchmark as its harness knows it, with every default filled in."""

    name: str
    """The task's name in the harness."""
    display: str
    """The task's name in the spec."""
    endpoint_type: EndpointType
    params: Params
    metric: str | None = None
    """The primary metric, where the catalog or the spec names one."""
    higher_is_better: bool | None = None
    expected_items: int | None = None
    """Items of a whole run, before `limit_samples`."""
    task_dir: Path | None = None
    """A folder with the harness's own task definitions, on this machine."""
    command: tuple[str, ...] | None = None
    """For the `command` harness."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """`nemo_evaluator_config` as merged from catalog, evaluation and task, without what `params` holds."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a running harness says it is."""

    done: int
    """Items (or requests, for harnesses that count those)."""
    total: int | None = None
