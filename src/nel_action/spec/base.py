"""What every part of a spec is built from."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["EnvironmentName", "Free", "SpecModel"]


class SpecModel(BaseModel):
    """Strict, frozen, and documented by the docstrings under its fields, which `spec.schema` reads when asked."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


EnvironmentName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
"""The name of an environment variable."""

Free = dict[str, Any]
"""A part that is passed on whole to a program that checks it itself."""
