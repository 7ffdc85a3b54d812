"""Variables of jobs and endpoints: plain text, or references to secrets of the workspace; never a secret's value."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, assert_never

from nel_action.errors import Problem, SecretError
from nel_action.executors.lepton.names import secret_name
from nel_action.model.env_ref import EnvRef, EnvSource
from nel_action.spec.lepton import LeptonValue

__all__ = ["RESERVED", "Environment", "reserved_problems"]

RESERVED: Final = frozenset(
    {
        "LEPTON_WORKSPACE_ID",
        "LEPTON_DEPLOYMENT_NAME",
        "LEPTON_JOB_NAME",
        "LEPTON_RESOURCE_ACCELERATOR_TYPE",
        "LEPTON_WORKSPACE_ORIGIN_URL",
    }
)
"""Names that the platform gives values of its own."""


@dataclass
class Environment:
    """The variables of one container, and the secrets that must be made for them first."""

    owner: str
    """The attempt or endpoint that they are for."""
    moment: float
    """When: part of the names of secrets, so that what nobody took away can be told from what is new."""
    plain: dict[str, str] = field(default_factory=dict)
    references: dict[str, str] = field(default_factory=dict)
    """Variable → name of a secret of the workspace."""
    made: dict[str, str] = field(default_factory=dict)
    """Name of a secret that must be made → variable here that has its value."""

    def add_reference(self, name: str, reference: EnvRef) -> None:
        """Add a variable as specs write it: `host:`, `runtime:` or `lit:`."""
        self.plain.pop(name, None)
        self.references.pop(name, None)
        match reference.source:
            case EnvSource.LITERAL:
                self.plain[name] = reference.value
            case EnvSource.RUNTIME:
                self.references[name] = reference.value
            case EnvSource.HOST:
                secret = secret_name(self.owner, self.moment, name)
                self.references[name] = secret
                self.made[secret] = reference.value
            case _:
                assert_never(reference.source)

    def add_value(self, name: str, value: str | LeptonValue) -> None:
        """Add a variable as the platform writes it."""
        self.plain.pop(name, None)
        old = self.references.pop(name, None)
        self.made.pop(old or "", None)
        if isinstance(value, str):
            self.plain[name] = value
            return
        source = value.value_from
        self.references[name] = source.secret_name_ref or source.token_name_ref or ""

    @property
    def hidden(self) -> list[str]:
        """Variables whose values are secret."""
        return sorted(self.references)

    def envs(self) -> list[dict[str, Any]]:
        """Return them as the platform writes them."""
        plain = [{"name": name, "value": value} for name, value in sorted(self.plain.items())]
        secret = [
            {"name": name, "value_from": {"secret_name_ref": secret}}
            for name, secret in sorted(self.references.items())
        ]
        return plain + secret

    def values(self, environ: Mapping[str, str]) -> dict[str, str]:
        """Look up the values of the secrets that must be made.

        Raises:
            SecretError: variables that are not set, by name.
        """
        if missing := sorted({name for name in self.made.values() if name not in environ}):
            msg = f"{'variable' if len(missing) == 1 else 'variables'} {', '.join(missing)} not set"
            raise SecretError(msg, hint="the spec asks for it with host:NAME; set it where nel-action runs")
        return {secret: environ[name] for secret, name in self.made.items()}


def reserved_problems(names: Iterable[str]) -> list[Problem]:
    """Refuse names that the platform gives values of its own."""
    hint = "take it out of the spec, or give it another name"
    return [
        Problem(f"the variable {name} is reserved by Lepton, which sets it itself", hint=hint)
        for name in sorted(set(names) & RESERVED)
    ]
