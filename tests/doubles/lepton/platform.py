"""The state of the platform: jobs, endpoints and the clock."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from pathlib import Path

from tests.doubles.lepton.clock import Clock
from tests.doubles.lepton.endpoints import Endpoints
from tests.doubles.lepton.jobs import Jobs
from tests.doubles.lepton.settings import Settings
from tests.doubles.lepton.workload import Started

__all__ = ["Platform"]


class Platform:
    """One workspace."""

    def __init__(self, directory: Path, settings: Settings) -> None:
        self.settings = settings
        self.lock = threading.RLock()
        self.closing = threading.Event()
        self.clock = Clock()
        self.started: list[Started] = []
        """Every process that was started, in order."""
        self.jobs = Jobs(settings, self.clock, directory / "jobs", self.started)
        self.endpoints = Endpoints(settings, self.clock, directory / "endpoints", self.started)

    def settle(self) -> None:
        """Apply all state changes that are due."""
        with self.lock:
            self.jobs.settle()
            self.endpoints.settle()

    def advance(self, seconds: float) -> None:
        """Advance the clock, and apply the state changes that are due then."""
        with self.lock:
            self.clock.advance(seconds)
            self.settle()

    def running(self) -> list[str]:
        """Return jobs and endpoints that have a process, or will get one without further requests."""
        self.settle()
        with self.lock:
            jobs = [
                record.id for record in self.jobs.records.values() if record.finished is None and not record.archived
            ]
            return jobs + [endpoint.name for endpoint in self.endpoints.records.values() if endpoint.desired_replicas]

    def shapes_in_use(self) -> Iterable[str | None]:
        """Return the shapes of the machines in use."""
        jobs = [record.job.spec.resource_shape for record in self.jobs.records.values() if record.running]
        return jobs + [endpoint.shape for endpoint in self.endpoints.records.values() if endpoint.running]

    def close(self) -> None:
        """Kill all processes."""
        self.closing.set()
        with self.lock:
            for record in self.jobs.records.values():
                if record.container:
                    record.container.kill()
                    record.container.wait()
                record.log.finish()
            for endpoint in self.endpoints.records.values():
                endpoint.kill()
                endpoint.log.finish()
                endpoint.gateway.close()
