"""References to the values of environment variables, as specs and jobs carry them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, assert_never

if TYPE_CHECKING:
    from pydantic import GetCoreSchemaHandler
    from pydantic_core import CoreSchema

__all__ = ["EnvRef", "EnvSource", "host_names", "parse_references", "runtime_names"]


class EnvSource(StrEnum):
    """Where the value of a variable comes from."""

    HOST = "host"
    """A variable of the process that runs nel-action; secret."""
    RUNTIME = "runtime"
    """A variable of the machine that runs the job; never seen by nel-action."""
    LITERAL = "lit"
    """The text itself; not secret."""


@dataclass(frozen=True, slots=True)
class EnvRef:
    """One reference: `host:NAME`, `runtime:NAME` or `lit:VALUE`."""

    source: EnvSource
    value: str
    """The variable's name, or the text where `source` is `LITERAL`."""

    @classmethod
    def parse(cls, text: str) -> EnvRef:
        """Parse a reference.

        Raises:
            ValueError: the prefix is unknown or missing.
        """
        prefix, colon, value = text.partition(":")
        if not colon:
            msg = f"{text!r} has no prefix; expected host:NAME, runtime:NAME or lit:VALUE"
            raise ValueError(msg)
        return cls(EnvSource(prefix), value)

    @classmethod
    def host(cls, name: str) -> EnvRef:
        """Refer to a variable of this process."""
        return cls(EnvSource.HOST, name)

    @classmethod
    def runtime(cls, name: str) -> EnvRef:
        """Refer to a variable of the machine that runs the job."""
        return cls(EnvSource.RUNTIME, name)

    @classmethod
    def literal(cls, text: str) -> EnvRef:
        """Carry a text that is not secret."""
        return cls(EnvSource.LITERAL, text)

    @property
    def host_name(self) -> str | None:
        """The variable's name where it is read in this process, else None."""
        return self.value if self.source is EnvSource.HOST else None

    @property
    def runtime_name(self) -> str | None:
        """The variable's name where it is read on the job's machine, else None."""
        return self.value if self.source is EnvSource.RUNTIME else None

    @property
    def literal_value(self) -> str | None:
        """The text itself where the reference carries one, else None."""
        return self.value if self.source is EnvSource.LITERAL else None

    @property
    def secret(self) -> bool:
        """Whether the value must be redacted from logs and results."""
        match self.source:
            case EnvSource.HOST | EnvSource.RUNTIME:
                return True
            case EnvSource.LITERAL:
                return False
            case _:
                assert_never(self.source)

    def __str__(self) -> str:
        return f"{self.source.value}:{self.value}"

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:  # noqa: ANN401
        """Read the textual form and write it, so that specs, plans and job keys contain strings."""
        from pydantic_core import core_schema

        text = core_schema.chain_schema(
            [
                core_schema.str_schema(strict=True, pattern=r"^(host|lit|runtime):"),
                core_schema.no_info_plain_validator_function(cls.parse),
            ]
        )
        return core_schema.json_or_python_schema(
            json_schema=text,
            python_schema=core_schema.union_schema([core_schema.is_instance_schema(cls), text], mode="left_to_right"),
            serialization=core_schema.to_string_ser_schema(),
        )


def parse_references(texts: Mapping[str, str]) -> dict[str, EnvRef]:
    """Parse the references of several variables.

    Raises:
        ValueError: a prefix is unknown or missing.
    """
    return {name: EnvRef.parse(text) for name, text in texts.items()}


def host_names(references: Iterable[EnvRef]) -> list[str]:
    """Return the sorted names of the variables that are read in this process."""
    return sorted({reference.value for reference in references if reference.source is EnvSource.HOST})


def runtime_names(references: Iterable[EnvRef]) -> list[str]:
    """Return the sorted names of the variables that are read on the job's machine."""
    return sorted({reference.value for reference in references if reference.source is EnvSource.RUNTIME})
