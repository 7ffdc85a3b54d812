"""What a workspace may use at once."""

from __future__ import annotations

from collections.abc import Iterable

from leptonai.api.v2.types.quota import TotalResource
from leptonai.api.v2.types.workspace import ResourceQuota
from tests.doubles.lepton.settings import Settings

__all__ = ["fits", "quota"]


def _sum(settings: Settings, shapes: Iterable[str | None]) -> TotalResource:
    specs = [settings.shapes[shape].spec for shape in shapes if shape in settings.shapes]
    return TotalResource(
        cpu=sum(spec.cpu or 0 for spec in specs),
        memory=sum(spec.memory_in_mb or 0 for spec in specs),
        accelerator_num=sum(spec.accelerator_num or 0 for spec in specs),
    )


def quota(settings: Settings, used: Iterable[str | None]) -> ResourceQuota:
    """Limit and use, as the workspace tells them."""
    cpu, memory, accelerators = settings.quota
    limit = TotalResource(cpu=cpu, memory=memory, accelerator_num=accelerators)
    return ResourceQuota(limit=limit, used=_sum(settings, used))


def fits(settings: Settings, used: Iterable[str | None], shape: str | None) -> bool:
    """Whether one more machine of this shape is within the quota."""
    whole = quota(settings, [*used, shape])
    return bool(
        whole.used.cpu <= whole.limit.cpu
        and whole.used.memory <= whole.limit.memory
        and whole.used.accelerator_num <= whole.limit.accelerator_num
    )
