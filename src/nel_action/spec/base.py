"""Base class and shared types of the spec's models."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["EnvironmentName", "Free", "SpecModel"]


class SpecModel(BaseModel):
    """A strict, frozen model; docs/spec.md and the JSON Schema contain the docstrings of its fields."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


EnvironmentName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
"""Name of an environment variable."""

Free = dict[str, Any]
"""Settings that are passed on unchanged to a program that validates them."""
