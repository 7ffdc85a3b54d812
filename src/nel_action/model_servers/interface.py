"""What a deployment is: the command line of a server, and how to know that it is ready."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Protocol

from nel_action.errors import Problem
from nel_action.model.task import EndpointType
from nel_action.spec.deployment import ServedDeployment

__all__ = ["ServeBinding", "ServeCommand", "Server"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeBinding:
    """What is known only where the server runs."""

    host: str
    """Address to listen on."""
    port: int
    work_dir: PurePosixPath
    """Where the command's files are."""
    checkpoint: PurePosixPath | None = None
    """The model as the server will see it (`/checkpoint` in a container)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeCommand:
    """How to start the server: words, never shell text."""

    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    """Text files to be in `work_dir`, by relative path; no secrets."""


class Server(Protocol):
    """One kind of server; stateless."""

    @property
    def type(self) -> str:
        """The word in a spec's `deployment.type`."""

    def check(self, deployment: ServedDeployment) -> Sequence[Problem]:
        """Say what is missing or contradictory."""

    def requirements(self, deployment: ServedDeployment) -> Sequence[str]:
        """Return what the server needs where it runs as a plain process, as words for the installer (`-r FILE`).

        Empty where it brings its own.
        """

    def command(self, deployment: ServedDeployment, binding: ServeBinding) -> ServeCommand:
        """Build the command line; a pure function."""

    def route(self, deployment: ServedDeployment, endpoint_type: EndpointType) -> str:
        """Return the path of the route for that kind of request."""
