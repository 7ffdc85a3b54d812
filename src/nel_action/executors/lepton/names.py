"""What things of ours are called there, and how they are known again."""

from __future__ import annotations

import hashlib
import json
import re
from typing import Any, Final

from nel_action.model.job import Key

__all__ = [
    "ENDPOINT_LABEL",
    "INVOCATION_LABEL",
    "KEEP",
    "KEY_LABEL",
    "LONGEST",
    "NUMBER_LABEL",
    "OURS",
    "OWN_LABEL",
    "TOKEN",
    "endpoint_name",
    "label_value",
    "mapping",
    "secret_name",
    "split_attempt",
    "split_secret",
]

LONGEST: Final = 36
"""Characters of a job's name; endpoints keep to it as well."""

OWN_LABEL: Final = "nel-action"
KEY_LABEL: Final = "nel-action-key"
NUMBER_LABEL: Final = "nel-action-attempt"
INVOCATION_LABEL: Final = "nel-action-invocation"
ENDPOINT_LABEL: Final = "nel-action-endpoint"
"""On a job: the endpoint that it needs."""

OURS: Final = "NEL_ACTION_INVOCATION"
"""The variable by which an endpoint is known as ours: endpoints of the newer API take no labels."""

KEEP: Final = "NEL_ACTION_KEEP"
"""The variable that keeps an endpoint from being taken down."""

TOKEN: Final = "NEL_ACTION_ENDPOINT_TOKEN"  # noqa: S105 - the name of a variable
"""The variable in which a job finds the token of its endpoint."""

_ATTEMPT = re.compile(r"(nel-[0-9a-f]{16})-(\d+)")
_SECRET = re.compile(r"nel-secret-(.+)-([0-9a-f]{8})-([A-Za-z_][A-Za-z0-9_]*)")


def split_attempt(name: str) -> tuple[Key, int] | None:
    """Take an attempt's name apart; None where it is no such name."""
    found = _ATTEMPT.fullmatch(name)
    return (Key(found[1]), int(found[2])) if found else None


def endpoint_name(prefix: str | None, identity: object) -> str:
    """Return the name of the endpoint with that identity: the user's own beginning, and a digest."""
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True, default=str).encode()).hexdigest()[:12]
    begin = re.sub(r"[^a-z0-9-]+", "-", (prefix or "nel").lower()).lstrip("-0123456789")
    return f"{begin[: LONGEST - 13].rstrip('-') or 'nel'}-{digest}"


def secret_name(owner: str, moment: float, variable: str) -> str:
    """Return the name of the workspace's secret that holds a variable of one attempt, or of one endpoint."""
    return f"nel-secret-{owner}-{int(moment):08x}-{variable}"


def split_secret(name: str) -> tuple[str, float, str] | None:
    """Return whom a secret is for, when it was made and its variable; None where it is none of ours."""
    found = _SECRET.fullmatch(name)
    return (found[1], float(int(found[2], 16)), found[3]) if found else None


def label_value(text: str) -> str:
    """Make a text fit for a label."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", text)[:63].strip("._-") or "none"


def mapping(value: Any) -> dict[str, Any]:  # noqa: ANN401 - of a JSON body
    """Return what should be an object, or an empty one."""
    return value if isinstance(value, dict) else {}
