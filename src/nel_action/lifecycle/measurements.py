"""What the gateway measured of a job: health of the answers, tokens and cost, from the counters of its last pass."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from nel_action.executors.gateway import COUNTERS_FILE, STOP_REASONS
from nel_action.gateway.runner import STOPPED
from nel_action.model.results import Amounts, Health, TaskResult

__all__ = ["merge_measurements", "model_change", "stop_reason", "with_measurements"]

logger = logging.getLogger(__name__)

_MAX_SIZE: Final = 1024**2
"""Bytes of a counters' file; a larger one is none of the gateway."""


def with_measurements(result: TaskResult, logs: Path, invocation: str) -> TaskResult:
    """Return the result with the health of its answers, and with their tokens and cost.

    Counts that the harness reports itself take precedence in `usage`. A file that cannot be read leaves everything
    unmeasured, which is not zero.

    Args:
        result: the result, as the harness reports it.
        logs: directory with the logs of the attempt.
        invocation: ID of the invocation that the result is collected for.
    """
    counters = _read(logs / COUNTERS_FILE)
    if counters is None:
        return result
    try:
        health = _health(counters)
        used = Amounts.model_validate(counters.get("used") or {})
        owner = (counters.get("header") or {}).get("invocation")
        paid = Amounts.model_validate(counters.get("paid_total") or {}) if owner == invocation else Amounts(cost_usd=0)
    except (ValidationError, AttributeError) as error:
        logger.warning("%s: %s is not a counters' file of the gateway: %s", result.task, COUNTERS_FILE, error)
        return result
    usage = _usage(health, used) | result.usage
    recorded = counters.get("recorded")
    known = recorded if recorded in {"complete", "partial", "off"} else None
    return result.model_copy(update={"health": health, "used": used, "paid": paid, "usage": usage, "recorded": known})


def stop_reason(logs: Path) -> tuple[str, str] | None:
    """Return reason and detail if the gateway stopped the harness before it had finished; None if it did not.

    Args:
        logs: directory with the logs of the attempt.
    """
    stopped = (_read(logs / COUNTERS_FILE) or {}).get("stopped")
    if not isinstance(stopped, dict) or stopped.get("reason") not in STOPPED:
        return None
    return STOP_REASONS[STOPPED[stopped["reason"]]][0].value, str(stopped.get("detail", ""))[:500]


def model_change(logs: Path) -> str | None:
    """Return that replayed and live answers are of different models; None if they are not, or if it is not known.

    Args:
        logs: directory with the logs of the attempt.
    """
    counters = _read(logs / COUNTERS_FILE) or {}
    replayed, live = (_names(counters.get(name)) for name in ("replayed_models", "live_models"))
    if not replayed or not live or replayed <= live or live <= replayed:
        return None
    return (
        f"the endpoint's model changed between two attempts: replayed answers are of {', '.join(sorted(replayed))}, "
        f"the others of {', '.join(sorted(live))}"
    )


def _names(value: object) -> set[str]:
    return {name for name in value if isinstance(name, str)} if isinstance(value, list) else set()


def _read(path: Path) -> dict[str, Any] | None:
    """Return the content of a counters' file; None if there is none or it is damaged."""
    try:
        if path.stat().st_size > _MAX_SIZE:
            return None
        counters = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RecursionError) as error:
        logger.warning("cannot read %s: %s", path, error)
        return None
    return counters if isinstance(counters, dict) else None


def _health(counters: dict[str, Any]) -> Health | None:
    """Return the health of the answers; None if the gateway saw none."""
    health = counters.get("health")
    if not isinstance(health, dict) or not health.get("requests"):
        return None
    known = {name: value for name, value in health.items() if name in Health.model_fields}
    return Health.model_validate(known | {"replayed": counters.get("replayed", 0)})


def _usage(health: Health | None, used: Amounts) -> dict[str, float]:
    usage: dict[str, float] = {}
    if health is not None:
        usage["error_rate"] = health.share("failed")
        if health.latency_mean_ms is not None:
            usage["latency_ms"] = health.latency_mean_ms
    if used.requests and not used.without_usage:
        usage |= {"prompt_tokens": used.prompt_tokens, "completion_tokens": used.completion_tokens}
    return usage if used.cost_usd is None else usage | {"cost_usd": used.cost_usd}


def merge_measurements(first: TaskResult, second: TaskResult) -> dict[str, Any]:
    """Return the health, the used and the paid amounts of two runs of a task together, as fields of the result."""
    return {
        "health": _merge_health(first.health, second.health),
        "used": _merge_amounts(first.used, second.used),
        "paid": _merge_amounts(first.paid, second.paid),
    }


def _merge_health(first: Health | None, second: Health | None) -> Health | None:
    if first is None or second is None:
        return None
    counts = {
        name: getattr(first, name) + getattr(second, name)
        for name in Health.model_fields
        if not name.startswith("latency")
    }
    # NOTE: the quantile of both is between those of each; the larger one cannot hide a slow run.
    latencies = {
        name: max(values)
        for name in Health.model_fields
        if name.startswith("latency")
        and (values := [value for side in (first, second) if (value := getattr(side, name)) is not None])
    }
    return Health(**counts, **latencies)


def _merge_amounts(first: Amounts | None, second: Amounts | None) -> Amounts | None:
    if first is None or second is None:
        return None
    counts = {name: getattr(first, name) + getattr(second, name) for name in Amounts.model_fields if name != "cost_usd"}
    unknown = first.cost_usd is None or second.cost_usd is None
    return Amounts(**counts, cost_usd=None if unknown else (first.cost_usd or 0.0) + (second.cost_usd or 0.0))
