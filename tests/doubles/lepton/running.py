"""How a spec of the platform becomes a process here."""

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
    """A process that really began: what "exactly once" is told from."""

    kind: str
    """`job` or `endpoint`."""
    name: str
    id: str
    run: int
    """1, 2, …"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Workload:
    """What a container runs, as the spec says it."""

    image: str | None
    command: Sequence[str]
    envs: Iterable[EnvVar] | None
    mounts: Iterable[Mount] | None
    given: dict[str, str]
    """Variables of the platform's own."""


def start(
    settings: Settings,
    workload: Workload,
    folder: Path,
    *,
    line: Callable[[str], None],
    ended: Callable[[], None],
) -> Container:
    """Start it, its secrets resolved and its mounts in place."""
    image = dict(settings.images.get(workload.image or "", {}))
    path = ":".join(part for part in (image.pop("PATH", ""), os.environ.get("PATH", os.defpath)) if part)
    environ = {"PATH": path} | image | workload.given
    for variable in workload.envs or []:
        secret = variable.value_from.secret_name_ref if variable.value_from else None
        environ[variable.name] = settings.secrets[secret] if secret else variable.value or ""
    return Container(
        workload.command,
        folder=folder,
        environ=environ,
        mounts={mount.mount_path: _source(settings, mount) for mount in workload.mounts or []},
        line=line,
        ended=ended,
    )


def _source(settings: Settings, mount: Mount) -> Path:
    source = settings.volumes[mount.from_] / (mount.path or "/").lstrip("/")
    source.mkdir(parents=True, exist_ok=True)
    return source
