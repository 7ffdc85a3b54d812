"""Prices of models, and budgets of invocations and tasks."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from nel_action.spec.base import SpecModel

__all__ = ["Budget", "Price"]

Dollars = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, Field(gt=0)]


class Price(SpecModel):
    """Price of a model in US dollars per million tokens."""

    input: Dollars
    """Of prompts."""
    output: Dollars
    """Of answers, reasoning included."""
    cached_input: Dollars | None = None
    """Of the part of prompts that the endpoint reads from a cache (the price of `input`)."""


class Budget(SpecModel):
    """The most that may be paid for; the gateway stops a task that exhausts its share, with reason `budget`."""

    requests: Count | None = None
    """Answered requests (unlimited)."""
    tokens: Count | None = None
    """Tokens of prompts and answers (unlimited)."""
    cost: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None = None
    """US dollars, by `prices` (unlimited)."""
