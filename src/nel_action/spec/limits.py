"""The table of limits that a policy can state; validation, gate, trend, messages, schema and docs derive from it.

A limit with an existing rule is a row here and a field of `spec.policy.TaskPolicy` or `spec.policy.UsageLimits`. A new
rule also needs a method in `gating.limits.RULES` (docs/architecture.md, "Recipes").
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from annotated_types import Ge, GroupedMetadata, Gt, Le, Lt
from pydantic import AllowInfNan

__all__ = [
    "COMPLETION_TOKENS",
    "COST_USD",
    "CUT",
    "EMPTY",
    "ERROR_RATE",
    "FILTERED",
    "LATENCY_MS",
    "LATENCY_P95_MS",
    "LIMITS",
    "MAX",
    "MAX_DROP",
    "MAX_RELATIVE_DROP",
    "MIN",
    "MIN_GAIN",
    "MIN_ITEMS",
    "OBSERVED",
    "PROMPT_TOKENS",
    "RETRIED",
    "SECONDS",
    "UNANSWERED",
    "Limit",
    "LimitUnit",
    "Rule",
]


class Rule(StrEnum):
    """How a limit is tested."""

    SCORE = "score"
    """The score itself, with its uncertainty."""
    CHANGE = "change"
    """The change from the baseline, with its uncertainty."""
    RELATIVE_CHANGE = "relative_change"
    """The change as a fraction of the baseline, with the uncertainty of both."""
    ITEMS = "items"
    """The number of evaluated items; fewer make the task unmeasurable."""
    USAGE = "usage"
    """A quantity that the harness reports, as it is."""
    HEALTH = "health"
    """A quantity that the gateway measures, as it is."""


OBSERVED: Final = frozenset({Rule.USAGE, Rule.HEALTH})
"""Rules of quantities without sampling error; their limits are in the section `limits` of a policy."""


class LimitUnit(StrEnum):
    """Unit of a limit, which also decides how messages show it."""

    SCORE = "score"
    CHANGE = "change"
    FRACTION = "fraction"
    ITEMS = "items"
    USD = "USD"
    MILLISECONDS = "ms"
    TOKENS = "tokens"
    SECONDS = "s"


@dataclass(frozen=True, kw_only=True)
class Limit(GroupedMetadata):
    """A row of the table; as an annotation of a field (`Annotated[float, MAX_DROP]`) it validates the range."""

    key: str
    """Name of the field in the policy."""
    rule: Rule
    unit: LimitUnit
    is_minimum: bool
    """Smaller values violate the limit; otherwise larger ones do."""
    needs_baseline: bool = False
    description: str
    """For the schema and docs/spec.md."""
    failed: str = ""
    """Reason for a violated limit; see `gating.messages.limit_reason` for the placeholders."""
    passed: str = ""
    """Reason for a limit that is met."""
    inconclusive: str = ""
    """Reason for an undecided limit."""
    gt: float | None = None
    """The limit itself must be larger than this."""
    ge: float | None = None
    """The limit itself must be at least this."""
    lt: float | None = None
    """The limit itself must be smaller than this."""
    le: float | None = None
    """The limit itself must be at most this."""

    def __iter__(self) -> Iterator[object]:
        """Yield the constraints on the limit itself, for pydantic."""
        for value, constraint in ((self.gt, Gt), (self.ge, Ge), (self.lt, Lt), (self.le, Le)):
            if value is not None:
                yield constraint(value)
        if self.rule is not Rule.ITEMS:
            yield AllowInfNan(allow_inf_nan=False)


MIN: Final = Limit(
    key="min",
    rule=Rule.SCORE,
    unit=LimitUnit.SCORE,
    is_minimum=True,
    description="Minimum of the score, in the unit of the metric.",
    failed="{score} is below the minimum of {limit}{confidence}",
    passed="{score} meets the minimum of {limit}{confidence}",
    inconclusive="{score} is neither above nor below the minimum of {limit}{confidence}",
)
MAX: Final = Limit(
    key="max",
    rule=Rule.SCORE,
    unit=LimitUnit.SCORE,
    is_minimum=False,
    description="Maximum of the score, in the unit of the metric.",
    failed="{score} is above the maximum of {limit}{confidence}",
    passed="{score} is within the maximum of {limit}{confidence}",
    inconclusive="{score} is neither above nor below the maximum of {limit}{confidence}",
)
MAX_DROP: Final = Limit(
    key="max_drop",
    rule=Rule.CHANGE,
    unit=LimitUnit.CHANGE,
    is_minimum=False,
    needs_baseline=True,
    description="Largest allowed loss against the baseline, in the unit of the metric.",
    failed="{change}, more than the allowed {limit}",
    passed="{change}; a loss of more than {limit} is ruled out",
    inconclusive="{change}; a loss of more than {limit} is neither shown nor ruled out",
    ge=0,
)
MAX_RELATIVE_DROP: Final = Limit(
    key="max_relative_drop",
    rule=Rule.RELATIVE_CHANGE,
    unit=LimitUnit.FRACTION,
    is_minimum=False,
    needs_baseline=True,
    description="Largest allowed loss as a fraction of the baseline's score.",
    failed="{relative_change}, more than the allowed {limit}",
    passed="{relative_change}; a loss of more than {limit} is ruled out",
    inconclusive="{relative_change}; a loss of more than {limit} is neither shown nor ruled out",
    ge=0,
    lt=1,
)
MIN_GAIN: Final = Limit(
    key="min_gain",
    rule=Rule.CHANGE,
    unit=LimitUnit.CHANGE,
    is_minimum=True,
    needs_baseline=True,
    description="Smallest required gain over the baseline, in the unit of the metric.",
    failed="{change}, less than the required gain of {limit}",
    passed="{change}, at least the required gain of {limit}",
    inconclusive="{change}; a gain of {limit} is neither shown nor ruled out",
    ge=0,
)
MIN_ITEMS: Final = Limit(
    key="min_items",
    rule=Rule.ITEMS,
    unit=LimitUnit.ITEMS,
    is_minimum=True,
    description="Smallest number of evaluated items; with fewer, the task is unmeasurable.",
    gt=0,
)


def _usage(key: str, unit: LimitUnit, description: str, *, le: float | None = None) -> Limit:
    failed = "{key} is {value}, more than the allowed {limit}"
    return Limit(
        key=key, rule=Rule.USAGE, unit=unit, is_minimum=False, description=description, failed=failed, ge=0, le=le
    )


COST_USD: Final = _usage("cost_usd", LimitUnit.USD, "US dollars per task.")
LATENCY_MS: Final = _usage(
    "latency_ms", LimitUnit.MILLISECONDS, "Milliseconds per request, averaged by the harness, else by the gateway."
)
PROMPT_TOKENS: Final = _usage("prompt_tokens", LimitUnit.TOKENS, "Prompt tokens per task.")
COMPLETION_TOKENS: Final = _usage("completion_tokens", LimitUnit.TOKENS, "Generated tokens per task.")
ERROR_RATE: Final = _usage("error_rate", LimitUnit.FRACTION, "Fraction of the requests that failed.", le=1)
SECONDS: Final = _usage("seconds", LimitUnit.SECONDS, "Wall time of the job, in seconds.")


def _share(key: str, description: str) -> Limit:
    failed = "{value} of the requests were {key}, more than the allowed {limit}"
    return Limit(
        key=key,
        rule=Rule.HEALTH,
        unit=LimitUnit.FRACTION,
        is_minimum=False,
        description=description,
        failed=failed,
        ge=0,
        le=1,
    )


UNANSWERED: Final = _share(
    "unanswered",
    "Fraction of the requests without an answer. Without this limit, more than 1 % (and more than one) make the task "
    "unmeasurable.",
)
EMPTY: Final = _share("empty", "Fraction of the answers without text that the model finished normally.")
CUT: Final = _share("cut", "Fraction of the answers that were cut at the limit of tokens.")
FILTERED: Final = _share("filtered", "Fraction of the answers that a content filter changed or removed.")
RETRIED: Final = _share("retried", "Fraction of the requests that were sent more than once.")
LATENCY_P95_MS: Final = Limit(
    key="latency_p95_ms",
    rule=Rule.HEALTH,
    unit=LimitUnit.MILLISECONDS,
    is_minimum=False,
    description="Milliseconds in which 95 % of the answers arrived, measured by the gateway.",
    failed="{key} is {value}, more than the allowed {limit}",
    ge=0,
)

LIMITS: Final[dict[str, Limit]] = {
    limit.key: limit
    for limit in (
        MIN, MAX, MAX_DROP, MIN_GAIN, MAX_RELATIVE_DROP, MIN_ITEMS,
        COST_USD, LATENCY_MS, PROMPT_TOKENS, COMPLETION_TOKENS, ERROR_RATE, SECONDS,
        UNANSWERED, EMPTY, CUT, FILTERED, RETRIED, LATENCY_P95_MS,
    )
}  # fmt: skip
"""All limits by their key, in the order in which they are tested."""
