"""Environment variables of jobs and endpoints, and the workspace secrets that hold their secret values.

Jobs and endpoints refer to secrets by name. The value of a `host:` variable is stored in a secret that belongs to one
attempt or endpoint and is deleted together with it.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, assert_never

from nel_action.errors import NelActionError, Problem, SecretError
from nel_action.executors.lepton.client import LeptonClient, MissingError
from nel_action.model.env_ref import EnvRef, EnvSource
from nel_action.spec.lepton import LeptonValue

__all__ = [
    "ENDPOINT_TOKEN",
    "RESERVED",
    "Environment",
    "SecretName",
    "SecretStore",
    "reserved_name_problems",
]

logger = logging.getLogger(__name__)

ENDPOINT_TOKEN: Final = "NEL_ACTION_ENDPOINT_TOKEN"  # noqa: S105 - the name of a variable
"""The variable that holds an endpoint's token in the jobs that use it."""

RESERVED: Final = frozenset(
    {
        "LEPTON_WORKSPACE_ID",
        "LEPTON_DEPLOYMENT_NAME",
        "LEPTON_JOB_NAME",
        "LEPTON_RESOURCE_ACCELERATOR_TYPE",
        "LEPTON_WORKSPACE_ORIGIN_URL",
    }
)
"""Variables that the platform sets itself and rejects in requests."""

SECRET_LIFETIME: Final = 3600.0
"""Seconds after which a secret without an active owner is deleted; until then its owner may be about to be created."""

_SECRET_NAME: Final = re.compile(r"nel-secret-(.+)-([0-9a-f]{8})-([A-Za-z_][A-Za-z0-9_]*)")


@dataclass(frozen=True, slots=True)
class SecretName:
    """Name of a workspace secret that nel-action created."""

    owner: str
    """Name of the attempt or endpoint."""
    created: int
    """Seconds since 1970; distinguishes a secret in use from one that an interrupted process left."""
    variable: str

    @classmethod
    def parse(cls, name: str) -> SecretName | None:
        """Parse a secret's name; return None for a secret that nel-action did not create."""
        match = _SECRET_NAME.fullmatch(name)
        return cls(match[1], int(match[2], 16), match[3]) if match else None

    def __str__(self) -> str:
        return f"nel-secret-{self.owner}-{self.created:08x}-{self.variable}"


@dataclass
class Environment:
    """The variables of one container, and the secrets to create for them."""

    owner: str
    """Name of the attempt or endpoint."""
    created: float
    """Seconds since 1970, for the names of its secrets."""
    plain: dict[str, str] = field(default_factory=dict)
    """Variable to value."""
    references: dict[str, str] = field(default_factory=dict)
    """Variable to the name of a workspace secret."""
    created_secrets: dict[str, str] = field(default_factory=dict)
    """Name of a secret to create, to the variable of this process that holds its value."""

    def add_reference(self, variable: str, reference: EnvRef) -> None:
        """Set a variable to a literal, a workspace secret, or a secret created from a variable of this process."""
        self.plain.pop(variable, None)
        self.references.pop(variable, None)
        match reference.source:
            case EnvSource.LITERAL:
                self.plain[variable] = reference.value
            case EnvSource.RUNTIME:
                self.references[variable] = reference.value
            case EnvSource.HOST:
                secret = str(SecretName(self.owner, int(self.created), variable))
                self.references[variable] = secret
                self.created_secrets[secret] = reference.value
            case _:
                assert_never(reference.source)

    def add_value(self, variable: str, value: str | LeptonValue) -> None:
        """Set a variable to a value in the platform's notation."""
        self.plain.pop(variable, None)
        self.created_secrets.pop(self.references.pop(variable, ""), None)
        if isinstance(value, str):
            self.plain[variable] = value
            return
        source = value.value_from
        self.references[variable] = source.secret_name_ref or source.token_name_ref or ""

    @property
    def secret_variables(self) -> list[str]:
        """Names of the variables whose values are secret, sorted."""
        return sorted(self.references)

    def to_json(self) -> list[dict[str, Any]]:
        """Return the variables as a request body lists them."""
        plain = [{"name": name, "value": value} for name, value in sorted(self.plain.items())]
        secret = [
            {"name": name, "value_from": {"secret_name_ref": secret}}
            for name, secret in sorted(self.references.items())
        ]
        return plain + secret

    def secret_values(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Return the values of the secrets to create, by secret name.

        Raises:
            SecretError: variables are not set in `environ`.
        """
        if missing := sorted({name for name in self.created_secrets.values() if name not in environ}):
            msg = f"{'variable' if len(missing) == 1 else 'variables'} {', '.join(missing)} not set"
            raise SecretError(msg, hint="the spec refers to it as host:NAME; set it in nel-action's environment")
        return {secret: environ[name] for secret, name in self.created_secrets.items()}


def reserved_name_problems(names: Iterable[str]) -> list[Problem]:
    """Return a problem for each variable that the platform reserves."""
    hint = "remove it from the spec, or rename it"
    return [
        Problem(f"the variable {name} is reserved by Lepton, which sets it itself", hint=hint)
        for name in sorted(set(names) & RESERVED)
    ]


@dataclass
class SecretStore:
    """The secrets of the workspace."""

    client: LeptonClient
    clock: Callable[[], float] = time.time

    def names(self) -> list[str]:
        """Return the names of all secrets.

        Raises:
            NelActionError: the request failed.
        """
        body = self.client.request("get", "/usersecrets", operation="list secrets") or []
        return [str(item.get("name")) for item in body if isinstance(item, dict)]

    def _own_names(self) -> dict[str, SecretName]:
        """Return the parsed names of the secrets that nel-action created."""
        parsed = {name: SecretName.parse(name) for name in self.names()}
        return {name: parts for name, parts in parsed.items() if parts is not None}

    def create(self, values: Mapping[str, str]) -> None:
        """Create secrets; repeating the request after a lost response is safe.

        Args:
            values: secret name to value.

        Raises:
            NelActionError: the request failed.
        """
        if not values:
            return
        from leptonai.api.v2.types.secret import SecretItem

        items = [SecretItem(name=name, value=value) for name, value in values.items()]
        body = [item.model_dump(exclude_none=True) for item in items]
        self.client.request("post", "/usersecrets", operation=f"create secrets ({', '.join(values)})", json=body)

    def delete(self, names: Iterable[str]) -> None:
        """Delete secrets; missing ones are ignored.

        Raises:
            NelActionError: a secret could not be deleted.
        """
        for name in names:
            try:
                self.client.request("delete", f"/usersecrets/{name}", operation=f"delete the secret {name}")
            except MissingError:
                continue

    def names_of(self, owner: str, variable: str) -> list[str]:
        """Return the names of the secrets of an attempt's or endpoint's variable, the newest last.

        Raises:
            NelActionError: the request failed.
        """
        names = self._own_names()
        matches = [name for name, parts in names.items() if (parts.owner, parts.variable) == (owner, variable)]
        return sorted(matches, key=lambda name: (names[name].created, name))

    def delete_of(self, owners: Collection[str]) -> None:
        """Delete the secrets of finished attempts and deleted endpoints; failures are left to `delete_expired`."""
        if not owners:
            return
        try:
            self.delete([name for name, parts in self._own_names().items() if parts.owner in owners])
        except NelActionError as error:
            logger.warning("cannot delete the secrets of %s: %s", ", ".join(sorted(owners)), error.problems[0].message)

    def expired(self) -> dict[str, SecretName]:
        """Return the secrets that are older than `SECRET_LIFETIME`, by name.

        Raises:
            NelActionError: the request failed.
        """
        now = self.clock()
        return {name: parts for name, parts in self._own_names().items() if now - parts.created > SECRET_LIFETIME}
