"""The platform behind the routes: jobs, endpoints and the time they live in."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path

from tests.doubles.lepton.clock import Clock
from tests.doubles.lepton.endpoints import Endpoints
from tests.doubles.lepton.jobs import Jobs
from tests.doubles.lepton.running import Started
from tests.doubles.lepton.settings import Settings

__all__ = ["Platform"]


class Platform:
    """One workspace of it."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.settings = settings
        self.lock = threading.RLock()
        self.closing = threading.Event()
        self.clock = Clock()
        self.started: list[Started] = []
        """Every process that really began, in order."""
        self.jobs = Jobs(settings, self.clock, folder / "jobs", self.started)
        self.endpoints = Endpoints(settings, self.clock, folder / "endpoints", self.started)

    def settle(self) -> None:
        """Let everything happen that is due."""
        with self.lock:
            self.jobs.settle()
            self.endpoints.settle()

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        with self.lock:
            self.clock.advance(seconds)
            self.settle()

    def running(self) -> list[str]:
        """Jobs and endpoints that have a process now, or will have one without anybody's doing."""
        self.settle()
        with self.lock:
            jobs = [
                record.id for record in self.jobs.records.values() if record.finished is None and not record.archived
            ]
            return jobs + [endpoint.name for endpoint in self.endpoints.records.values() if endpoint.wanted]

    def shapes_in_use(self) -> Iterable[str | None]:
        """The machines that are taken."""
        jobs = [record.job.spec.resource_shape for record in self.jobs.records.values() if record.running]
        return jobs + [endpoint.shape for endpoint in self.endpoints.records.values() if endpoint.running]

    def close(self) -> None:
        """End every process that it started."""
        self.closing.set()
        with self.lock:
            for record in self.jobs.records.values():
                if record.container:
                    record.container.kill()
                    record.container.wait()
                record.log.finish()
            for endpoint in self.endpoints.records.values():
                endpoint.end()
                endpoint.log.finish()
                endpoint.gateway.close()
