"""Settings of exporters, which each exporter validates with a model of its own."""

from __future__ import annotations

from pydantic import ConfigDict

from nel_action.model.env_ref import EnvRef
from nel_action.spec.base import EnvironmentName, Free, SpecModel

__all__ = ["Exports"]


class Exports(SpecModel):
    """Settings by the exporter's name: `local`, `wandb`, `mlflow`, `gsheets` or a plug-in."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, Free]

    env_vars: dict[EnvironmentName, EnvRef] = {}
    """Variables of exports only."""

    def settings(self, name: str) -> Free | None:
        """Return the settings of an exporter; None if the spec has none."""
        return self.__pydantic_extra__.get(name)

    def names(self) -> tuple[str, ...]:
        """Return the names of the configured exporters, in the order of the spec."""
        return tuple(self.__pydantic_extra__)
