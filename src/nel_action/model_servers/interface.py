"""The protocol of a type of model server; stateless, and independent of where the server runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Protocol

from nel_action.errors import Problem
from nel_action.model.task import EndpointType
from nel_action.spec.deployment import ServedDeployment

__all__ = ["ServeBinding", "ServeCommand", "ServerType"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeBinding:
    """The values that are known only where the server runs."""

    host: str
    """Address to listen on."""
    port: int
    work_dir: PurePosixPath
    """Directory of the command's files."""
    checkpoint: PurePosixPath | None = None
    """Path of the model for the server (`/checkpoint` in a container)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeCommand:
    """The command that starts a server: an argument list, never shell text."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    """Text files to write into `work_dir`: relative path to content; no secrets."""


class ServerType(Protocol):
    """One type of model server."""

    @property
    def type(self) -> str:
        """The value of `deployment.type`."""

    def check(self, deployment: ServedDeployment) -> Sequence[Problem]:
        """Return missing and contradictory settings."""

    def requirements(self, deployment: ServedDeployment) -> Sequence[str]:
        """Return the installer's arguments for the environment of a server that runs as a process (`-r FILE`).

        Empty if the server needs no environment.
        """

    def command(self, deployment: ServedDeployment, binding: ServeBinding) -> ServeCommand:
        """Return the command that starts the server; a pure function."""

    def route(self, deployment: ServedDeployment, endpoint_type: EndpointType) -> str:
        """Return the URL path for a type of request; empty if the server has none."""
