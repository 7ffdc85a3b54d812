"""A benchmark task with all parameters, as passed to a harness."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any

__all__ = ["EndpointType", "HarnessTask", "Params", "Progress", "one_token_body"]


class EndpointType(StrEnum):
    """The OpenAI-compatible route that a benchmark uses."""

    CHAT = "chat"
    COMPLETIONS = "completions"
    COMPLETIONS_LOGPROBS = "completions_logprobs"
    EMBEDDING = "embedding"
    VLM = "vlm"


def one_token_body(model: str | None, endpoint_type: EndpointType) -> dict[str, Any]:
    """Return the smallest request of an endpoint type, whose answer has one token.

    Args:
        model: its name at the endpoint.
        endpoint_type: of the endpoint.
    """
    match endpoint_type:
        case EndpointType.CHAT | EndpointType.VLM:
            return {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
        case EndpointType.COMPLETIONS | EndpointType.COMPLETIONS_LOGPROBS:
            return {"model": model, "prompt": "Hi", "max_tokens": 1}
        case EndpointType.EMBEDDING:
            return {"model": model, "input": "Hi"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """Parameters that are always passed to a harness, so that its own defaults do not apply."""

    limit_samples: int | float | None = None
    """Items to evaluate: a count, or a proportion below 1; None evaluates all."""
    parallelism: int = 4
    """Concurrent requests."""
    request_timeout: float = 600.0
    """Seconds per request."""
    max_retries: int = 5
    """Retries per request after the first try."""
    seed: int = 1234
    """Seed of all random numbers in the harness."""
    temperature: float | None = None
    """Sampling temperature; None keeps the benchmark's default."""
    top_p: float | None = None
    """Probability mass of nucleus sampling; None keeps the benchmark's default."""
    max_new_tokens: int | None = None
    """Maximum tokens of an answer; None keeps the benchmark's default."""
    extra: Mapping[str, Any] = field(default_factory=dict)
    """Parameters specific to the harness or task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HarnessTask:
    """One benchmark as its harness expects it, with all defaults applied."""

    name: str
    """Name in the harness."""
    display: str
    """Name in the spec."""
    endpoint_type: EndpointType
    params: Params
    metric: str | None = None
    """The primary metric, if the catalog or the spec defines it."""
    higher_is_better: bool | None = None
    expected_items: int | None = None
    """Items of the data set, before `limit_samples`."""
    task_dir: Path | None = None
    """Directory with task definitions of the harness, on this machine."""
    command: tuple[str, ...] | None = None
    """Argument list of the `command` harness."""
    config: Mapping[str, Any] = field(default_factory=dict)
    """`nemo_evaluator_config` merged from catalog, evaluation and task, without the content of `params`."""


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a running harness."""

    done: int
    """Items, or requests if the harness counts those."""
    total: int | None = None
    seconds_left: float | None = None
    """Estimated time until the harness has received all answers; None if it is not known."""
