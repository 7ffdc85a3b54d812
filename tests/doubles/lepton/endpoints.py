"""Endpoints: started, ready or not and why, scaled to zero, woken, deleted."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from leptonai.api.v2.types.deployment import LeptonDeployment, LeptonDeploymentState, TokenVar
from leptonai.api.v2.types.readiness import ReplicaReadinessReason
from leptonai.api.v2.types.termination import ReplicaTermination
from tests.doubles.lepton.bodies import Refused
from tests.doubles.lepton.clock import Clock
from tests.doubles.lepton.endpoint import Endpoint
from tests.doubles.lepton.endpoint_rules import check_endpoint, idle_limits, token_values
from tests.doubles.lepton.gateway import Gateway
from tests.doubles.lepton.quota import fits
from tests.doubles.lepton.running import Started
from tests.doubles.lepton.settings import Settings

__all__ = ["Endpoints"]

State = LeptonDeploymentState
Reason = ReplicaReadinessReason


class Endpoints:
    """All endpoints of the workspace, by name."""

    def __init__(self, settings: Settings, clock: Clock, folder: Path, started: list[Started]) -> None:
        self._settings, self._clock, self._folder, self._started = settings, clock, folder, started
        self.records: dict[str, Endpoint] = {}
        self.deleted: list[str] = []

    def create(self, model: LeptonDeployment, raw: dict[str, Any] | None) -> Endpoint:
        """Accept an endpoint."""
        name = check_endpoint(self._settings, model)
        assert model.metadata
        assert model.spec
        if name in self.records:
            raise Refused(409, "Conflict", f"endpoint {name} already exists")
        model.metadata.id_ = model.metadata.name = name
        model.metadata.created_at, model.metadata.created_by = self._clock.millis(), "somebody@example.com"
        if self._settings.secure_defaults and not model.spec.api_tokens and not model.spec.allow_unauthenticated_access:
            model.spec.api_tokens = [TokenVar(value=secrets.token_hex(16))]
        gateway = Gateway(self._clock.now)
        gateway.tokens = token_values(self._settings, model)
        endpoint = Endpoint(model, raw, self._folder / name, gateway, self._settings.delays.starting)
        endpoint.since = self._clock.now()
        self.records[name] = endpoint
        return endpoint

    def get(self, name: str) -> Endpoint:
        if name not in self.records:
            raise Refused(404, "ResourceNotFound", f"endpoint {name} not found")
        return self.records[name]

    def change(self, endpoint: Endpoint, model: LeptonDeployment, raw: dict[str, Any] | None) -> None:
        """Take a new spec; whoever asks for replicas wakes what sleeps."""
        before = endpoint.model.spec.container if endpoint.model.spec else None
        assert model.spec
        if endpoint.asleep:
            endpoint.since = self._clock.now()  # it has its whole time to become ready again
        endpoint.model, endpoint.raw, endpoint.asleep = model, raw, False
        endpoint.gateway.tokens = token_values(self._settings, model)
        if model.spec.container != before:
            self.restart(endpoint)

    def restart(self, endpoint: Endpoint) -> None:
        """End the server, to be started anew."""
        endpoint.end()
        endpoint.looks = self._settings.delays.starting
        endpoint.to(State.Restarting, Reason.InProgress)

    def delete(self, endpoint: Endpoint) -> None:
        """End the server and forget the endpoint, at once or after some looks."""
        endpoint.end()
        endpoint.log.finish()
        endpoint.looks = self._settings.delays.deleting
        endpoint.to(State.Deleting, Reason.Deleting)
        if not endpoint.looks:
            self._forget(endpoint)

    def _forget(self, endpoint: Endpoint) -> None:
        endpoint.gateway.close()
        del self.records[endpoint.name]
        self.deleted.append(endpoint.name)

    def look(self, endpoint: Endpoint) -> None:
        """A client sees it: its delays are one look shorter."""
        if endpoint.looks:
            endpoint.looks -= 1
            if not endpoint.looks and endpoint.state is State.Deleting:
                self._forget(endpoint)

    def settle(self) -> None:
        """Let everything happen that is due."""
        for endpoint in list(self.records.values()):
            if endpoint.state is State.Deleting:
                continue
            self._crashes(endpoint)
            self._sleeps(endpoint)
            if not endpoint.wanted:
                self._stops(endpoint)
            elif not endpoint.running and not endpoint.looks:
                self._starts(endpoint)
            elif endpoint.running and not endpoint.ready and endpoint.listens():
                endpoint.to(State.Ready, Reason.Ready)
                endpoint.gateway.last_traffic = self._clock.now()

    def _starts(self, endpoint: Endpoint) -> None:
        used = [other.shape for other in self.records.values() if other.running]
        assert endpoint.model.spec
        image = endpoint.model.spec.container.image if endpoint.model.spec.container else None
        if endpoint.shape in self._settings.no_capacity:
            endpoint.to(State.NotReady, Reason.NoCapacity, f"no capacity for {endpoint.shape}")
        elif not fits(self._settings, used, endpoint.shape):
            endpoint.to(State.NotReady, Reason.Queueing, "the workspace's quota is used up")
        elif image in self._settings.missing_images:
            endpoint.to(State.NotReady, Reason.ConfigError, f"failed to pull image {image}")
        else:
            endpoint.launch(self._settings, self._clock)
            self._started.append(Started(kind="endpoint", name=endpoint.name, id=endpoint.name, run=endpoint.runs))

    def _stops(self, endpoint: Endpoint) -> None:
        if endpoint.running and endpoint.state is not State.Stopping:
            endpoint.to(State.Stopping, Reason.InProgress)
            assert endpoint.container
            endpoint.container.stop(self._settings.grace)
        elif not endpoint.running:
            endpoint.container = None
            endpoint.looks = 0
            endpoint.to(State.Stopped, Reason.Deleted)

    def _crashes(self, endpoint: Endpoint) -> None:
        """A server that ended by itself is started again, and the reason says so."""
        container = endpoint.container
        if container is None or container.exit_code is None or not endpoint.wanted:
            return
        code, now = container.exit_code, int(self._clock.now())
        end = ReplicaTermination(
            started_at=int(endpoint.since), finished_at=now, exit_code=code, reason="Error", message=f"exit code {code}"
        )
        endpoint.terminations.append(end)
        endpoint.container = None
        # NOTE: a crash loop backs off: the next try needs one look more than the last.
        endpoint.looks = len(endpoint.terminations)
        endpoint.to(State.NotReady, Reason.ConfigError, f"the container exited with {code}; restarting")

    def _sleeps(self, endpoint: Endpoint) -> None:
        """Scale to zero what nobody asks, or what never became ready."""
        no_traffic, not_ready = idle_limits(endpoint.model)
        now = self._clock.now()
        idle = endpoint.ready and no_traffic and now - endpoint.gateway.last_traffic >= no_traffic
        lost = not endpoint.ready and not_ready and now - endpoint.since >= not_ready
        if endpoint.wanted and (idle or lost):
            endpoint.asleep = True
