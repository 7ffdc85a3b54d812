"""Contents of a workspace and behavior of the platform, for tests to change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from leptonai.api.v2.types.common import Metadata
from leptonai.api.v2.types.shape import Shape, ShapeSpec

__all__ = ["Delays", "NodeGroup", "Settings"]


def _shapes() -> dict[str, Shape]:
    sizes = {
        "cpu.small": (1, 4096, 0),
        "cpu.large": (8, 32768, 0),
        "gpu.a10": (8, 65536, 1),
        "gpu.8xh200": (96, 1 << 20, 8),
    }
    return {
        name: Shape(
            metadata=Metadata(id=name, name=name),
            spec=ShapeSpec(name=name, cpu=cpu, memory_in_mb=memory, accelerator_num=gpus),
        )
        for name, (cpu, memory, gpus) in sizes.items()
    }


@dataclass(slots=True)
class Delays:
    """Number of requests for which a state lasts; nothing here sleeps."""

    queueing: int = 0
    starting: int = 0
    stopping: int = 0
    deleting: int = 0
    retry: int = 0


@dataclass(slots=True)
class NodeGroup:
    """A node group of the workspace."""

    name: str
    nodes: tuple[str, ...] = ("node-1",)
    unschedulable: tuple[str, ...] = ()


@dataclass(slots=True)
class Settings:
    """One workspace."""

    workspace: str = "ws"
    token: str = "tok-of-the-workspace"
    new_api: bool = False
    """Whether the endpoint API is `/endpoints` instead of `/deployments`."""
    secure_defaults: bool = False
    """Whether an endpoint without tokens gets a generated one."""
    state: str = "normal"
    delays: Delays = field(default_factory=Delays)
    grace: float = 0.5
    """Real seconds between SIGTERM and SIGKILL."""
    shapes: dict[str, Shape] = field(default_factory=_shapes)
    node_groups: dict[str, NodeGroup] = field(default_factory=lambda: {"ng-1": NodeGroup("group-one")})
    """By id."""
    quota: tuple[float, int, float] = (192, 4 << 20, 16)
    """CPUs, memory in MiB, accelerators; workloads above it are queued."""
    no_capacity: set[str] = field(default_factory=set)
    """Shapes without an available machine."""
    secrets: dict[str, str] = field(default_factory=dict)
    tokens: dict[str, str] = field(default_factory=dict)
    """Named tokens that endpoints may refer to."""
    registries: set[str] | None = None
    """Names of image pull secrets; None accepts any."""
    volumes: dict[str, Path] = field(default_factory=dict)
    """Name of a volume (`node-nfs:fs`) to directory on this machine."""
    images: dict[str, Mapping[str, str]] = field(default_factory=dict)
    """Variables that an image sets; its PATH precedes the machine's."""
    missing_images: set[str] = field(default_factory=set)
    archive_keeps_state: bool = False
    """Whether an archived job keeps its final state instead of `Archived`."""
    max_page: int = 500
    max_log_lines: int = 5000
    log_lag: float = 0
    """Seconds until the log service has stored a line."""
