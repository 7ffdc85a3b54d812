"""Paid requests and tokens, their cost, and the budget that ends a pass."""

from __future__ import annotations

import math
from typing import Any, Mapping

__all__ = ["AMOUNTS", "BUDGETS", "PRICES", "Spending", "add_entry", "cost_of", "maximum", "read_amounts"]

AMOUNTS = ("requests", "prompt_tokens", "completion_tokens", "cached_tokens", "without_usage")
"""Answers, their tokens (`cached_tokens` are part of the prompt's), and the answers without token counts."""
PRICES = ("input", "output", "cached_input")
"""US dollars per million tokens."""
BUDGETS = ("requests", "tokens", "cost")
_TOLERATED = 10
_TOLERATED_SHARE = 0.1
"""Answers without token counts up to which a budget of tokens or cost is enforced nevertheless."""


def cost_of(amounts: Mapping[str, float], prices: Mapping[str, float]) -> float | None:
    """Return US dollars; None if a price or the tokens of an answer are unknown, which is not zero."""
    if "input" not in prices or "output" not in prices or amounts.get("without_usage", 0):
        return None
    cached = min(amounts.get("cached_tokens", 0), amounts.get("prompt_tokens", 0))
    dollars = (
        (amounts.get("prompt_tokens", 0) - cached) * prices["input"]
        + cached * prices.get("cached_input", prices["input"])
        + amounts.get("completion_tokens", 0) * prices["output"]
    )
    return dollars / 1e6


def read_amounts(values: Any) -> dict[str, int]:  # noqa: ANN401 - JSON
    """Return the known amounts of a mapping from a file; everything else in it is ignored."""
    if not isinstance(values, dict):
        return {}
    return {
        name: value
        for name in AMOUNTS
        for value in (values.get(name),)
        if isinstance(value, int) and not isinstance(value, bool) and value >= 0
    }


def maximum(*sides: Mapping[str, int]) -> dict[str, int]:
    """Return the larger amount of each name: two incomplete counts of the same requests."""
    return {name: max(side.get(name, 0) for side in sides) for name in AMOUNTS if any(name in side for side in sides)}


class Spending:
    """What this invocation has paid for one job, earlier passes and attempts included."""

    def __init__(self, budget: Mapping[str, float], prices: Mapping[str, float], before: Mapping[str, int]) -> None:
        """Continue counting.

        Args:
            budget: limits by `BUDGETS`; a missing one is unlimited.
            prices: by `PRICES`.
            before: amounts of earlier passes of the same invocation.
        """
        self._budget = dict(budget)
        self._prices = dict(prices)
        self._reserved = 0
        self.paid: dict[str, int] = {**dict.fromkeys(AMOUNTS, 0), **before}

    @property
    def cost(self) -> float | None:
        """US dollars, if known."""
        return cost_of(self.paid, self._prices)

    def reserve(self) -> str | None:
        """Count a request that is about to be sent; return why it must not be sent, if the budget is exhausted."""
        reason = self._exhausted()
        if reason is None:
            self._reserved += 1
        return reason

    def release(self, usage: Mapping[str, int] | None, *, malformed: bool = False) -> None:
        """Replace the reservation of a request by what its answer used.

        Args:
            usage: tokens; empty if they are unknown, None without an answer.
            malformed: the answer is none of a model, so that missing token counts are not unknown tokens.
        """
        self._reserved -= 1
        if usage is not None:
            _add(self.paid, usage, malformed=malformed)

    def _exhausted(self) -> str | None:
        budget, paid = self._budget, self.paid
        if not budget:
            return None
        if "requests" in budget and paid["requests"] + self._reserved >= budget["requests"]:
            return "budget.requests is exhausted: {:,} requests of {:,} were paid".format(
                paid["requests"] + self._reserved, int(budget["requests"])
            )
        name = next((name for name in ("cost", "tokens") if name in budget), None)
        if name is None:
            return None
        missing, total = paid["without_usage"], paid["requests"]
        if missing > _TOLERATED and missing > total * _TOLERATED_SHARE:
            return f"budget.{name} cannot be enforced: {missing:,} of {total:,} answers have no token counts"
        # NOTE: the few answers without token counts are assumed to be as long as the others.
        factor = total / (total - missing) if total > missing else 1.0
        tokens = factor * (paid["prompt_tokens"] + paid["completion_tokens"])
        if tokens >= budget.get("tokens", math.inf):
            return f"budget.tokens is exhausted: {tokens:,.0f} tokens of {int(budget['tokens']):,} were paid"
        cost = factor * (cost_of({**paid, "without_usage": 0}, self._prices) or 0.0)
        if cost >= budget.get("cost", math.inf):
            return f"budget.cost is exhausted: {cost:.4f} USD of {budget['cost']:g} USD were paid"
        return None


def add_entry(total: dict[str, int], meta: Mapping[str, Any]) -> None:
    """Add a recorded answer to amounts.

    Args:
        total: the amounts, changed in place.
        meta: of the record's entry.
    """
    _add(total, read_amounts(meta.get("usage")), malformed=meta.get("malformed") is not None)


def _add(total: dict[str, int], usage: Mapping[str, int], *, malformed: bool) -> None:
    unknown = int(not usage and not malformed)
    for name, value in {"requests": 1, "without_usage": unknown, **usage}.items():
        total[name] = total.get(name, 0) + value
