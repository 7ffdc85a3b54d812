"""What every part of a spec is built from."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["EnvReference", "EnvironmentName", "Free", "SpecModel"]


class SpecModel(BaseModel):
    """Strict, frozen, and documented by the docstrings under its fields, which `spec.schema` reads when asked."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


EnvironmentName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
"""The name of an environment variable."""

EnvReference = Annotated[str, Field(pattern=r"^(host|lit|runtime):")]
"""`host:NAME` is read where nel-action runs, `runtime:NAME` where the job runs, `lit:VALUE` is the value itself."""

Free = dict[str, Any]
"""A part that is passed on whole to a program that checks it itself."""
