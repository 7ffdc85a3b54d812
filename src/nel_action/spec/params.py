"""Parameters of a benchmark: what is passed to every harness, and what only one knows."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from nel_action.spec.base import Free, SpecModel

__all__ = ["TaskParams"]


class TaskParams(SpecModel):
    """What is not given is taken from the evaluation, then the catalog, then the defaults in brackets."""

    limit_samples: Annotated[int, Field(gt=0)] | Annotated[float, Field(gt=0, lt=1)] | None = None
    """Items to evaluate: a count, or a share below 1 (all)."""
    parallelism: Annotated[int, Field(gt=0)] | None = None
    """Requests at once (4)."""
    request_timeout: Annotated[float, Field(gt=0)] | None = None
    """Seconds for one request (600)."""
    max_retries: Annotated[int, Field(ge=0)] | None = None
    """Tries of one request after the first (5)."""
    seed: int | None = None
    """Of everything random in the harness (1234)."""
    temperature: Annotated[float, Field(ge=0)] | None = None
    """Sampling temperature (the benchmark's own)."""
    top_p: Annotated[float, Field(ge=0, le=1)] | None = None
    """Nucleus mass (the benchmark's own)."""
    max_new_tokens: Annotated[int, Field(gt=0)] | None = None
    """Tokens of an answer (the benchmark's own)."""
    task: str | None = None
    """The harness's own name for what to run, where it differs."""
    extra: Free = {}
    """What only this harness or task knows."""
