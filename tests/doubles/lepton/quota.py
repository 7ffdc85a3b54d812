"""The quota of a workspace."""

from __future__ import annotations

from collections.abc import Iterable

from leptonai.api.v2.types.quota import TotalResource
from leptonai.api.v2.types.workspace import ResourceQuota
from tests.doubles.lepton.settings import Settings

__all__ = ["fits", "quota"]


def _total(settings: Settings, shapes: Iterable[str | None]) -> TotalResource:
    specs = [settings.shapes[shape].spec for shape in shapes if shape in settings.shapes]
    return TotalResource(
        cpu=sum(spec.cpu or 0 for spec in specs),
        memory=sum(spec.memory_in_mb or 0 for spec in specs),
        accelerator_num=sum(spec.accelerator_num or 0 for spec in specs),
    )


def quota(settings: Settings, used: Iterable[str | None]) -> ResourceQuota:
    """Return limit and use in the platform's format."""
    cpu, memory, accelerators = settings.quota
    limit = TotalResource(cpu=cpu, memory=memory, accelerator_num=accelerators)
    return ResourceQuota(limit=limit, used=_total(settings, used))


def fits(settings: Settings, used: Iterable[str | None], shape: str | None) -> bool:
    """Whether another machine of this shape is within the quota."""
    total = quota(settings, [*used, shape])
    return bool(
        total.used.cpu <= total.limit.cpu
        and total.used.memory <= total.limit.memory
        and total.used.accelerator_num <= total.limit.accelerator_num
    )
