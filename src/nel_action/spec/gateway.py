"""Settings of the gateway, the local proxy between a harness and the model endpoint."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal

from pydantic import Field

from nel_action.spec.base import SpecModel

__all__ = ["Gateway", "Rates", "merged_gateway"]

Count = Annotated[int, Field(gt=0)]


class Rates(SpecModel):
    """Limits of the requests to the endpoint."""

    requests_per_minute: Count | None = None
    """Requests in any minute (unlimited)."""
    tokens_per_minute: Count | None = None
    """Tokens of requests and answers in any minute (unlimited)."""
    max_concurrency: Count | None = None
    """Requests at once (as many as the harness sends)."""


class Gateway(SpecModel):
    """The proxy that records and replays answers, retries, and keeps the API key from the harness."""

    enabled: bool = True
    """Whether harnesses reach the target through the gateway; `gateway: false` is short for `enabled: false`."""
    replay: bool = True
    """Whether a retry of a job uses the answers that earlier attempts of the same evaluation received."""
    store: Literal["all", "answers"] = "all"
    """`all` records requests and answers, `answers` only the answers and digests of the requests."""
    keep_days: Count = 7
    """Days after which records are deleted."""
    max_age: Annotated[float, Field(gt=0)] = 24 * 3600
    """Seconds after which an answer is not replayed if the target has neither a `revision` nor a deployment."""
    rates: Rates = Rates()
    """Limits of the requests to the endpoint."""


def merged_gateway(layers: Iterable[Gateway | bool | None]) -> Gateway:
    """Merge settings key by key, later layers taking precedence; a Boolean sets `enabled`, None nothing."""
    values: dict[str, Any] = {}
    rates: dict[str, Any] = {}
    for layer in layers:
        if isinstance(layer, bool):
            values["enabled"] = layer
        elif layer is not None:
            values |= {name: getattr(layer, name) for name in layer.model_fields_set}
            rates |= {name: getattr(layer.rates, name) for name in layer.rates.model_fields_set}
    return Gateway(**values | {"rates": Rates(**rates)})
