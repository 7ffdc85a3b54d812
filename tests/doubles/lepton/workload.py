"""Starts the process of a job or endpoint."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from leptonai.api.v2.types.deployment import EnvVar, Mount
from tests.doubles.lepton.container import Container
from tests.doubles.lepton.settings import Settings

__all__ = ["Started", "Workload", "start"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Started:
    """A process that was started."""

    kind: str
    """`job` or `endpoint`."""
    name: str
    id: str
    run: int
    """1, 2, …"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """The part of a spec that describes a container."""

    image: str | None
    command: Sequence[str]
    envs: Iterable[EnvVar] | None
    mounts: Iterable[Mount] | None
    platform_envs: dict[str, str]
    """Variables that the platform sets."""


def start(
    settings: Settings,
    workload: Workload,
    directory: Path,
    *,
    on_line: Callable[[str], None],
    on_exit: Callable[[], None],
) -> Container:
    """Start a container with its variables, secrets and mounts.

    Args:
        settings: the workspace.
        workload: what to run.
        directory: the container's directory on this machine.
        on_line: called with each line of the output.
        on_exit: called after the process has exited.
    """
    image = dict(settings.images.get(workload.image or "", {}))
    path = ":".join(part for part in (image.pop("PATH", ""), os.environ.get("PATH", os.defpath)) if part)
    environ = {"PATH": path} | image | workload.platform_envs
    for variable in workload.envs or []:
        secret = variable.value_from.secret_name_ref if variable.value_from else None
        environ[variable.name] = settings.secrets[secret] if secret else variable.value or ""
    return Container(
        workload.command,
        directory=directory,
        environ=environ,
        mounts={mount.mount_path: _source(settings, mount) for mount in workload.mounts or []},
        on_line=on_line,
        on_exit=on_exit,
    )


def _source(settings: Settings, mount: Mount) -> Path:
    source = settings.volumes[mount.from_] / (mount.path or "/").lstrip("/")
    source.mkdir(parents=True, exist_ok=True)
    return source
