"""Life cycle of endpoints: starting, readiness, scaling to zero, waking and deletion."""

from __future__ import annotations

import secrets
from pathlib import Path
from typing import Any

from leptonai.api.v2.types.deployment import LeptonDeployment, LeptonDeploymentState, TokenVar
from leptonai.api.v2.types.readiness import ReplicaReadinessReason
from leptonai.api.v2.types.termination import ReplicaTermination
from tests.doubles.lepton.bodies import ApiError
from tests.doubles.lepton.clock import Clock
from tests.doubles.lepton.endpoint import Endpoint
from tests.doubles.lepton.endpoint_rules import check_endpoint, idle_limits, token_values
from tests.doubles.lepton.gateway import Gateway
from tests.doubles.lepton.quota import fits
from tests.doubles.lepton.settings import Settings
from tests.doubles.lepton.workload import Started

__all__ = ["Endpoints"]

State = LeptonDeploymentState
Reason = ReplicaReadinessReason


class Endpoints:
    """All endpoints of the workspace, by name."""

    def __init__(self, settings: Settings, clock: Clock, directory: Path, started: list[Started]) -> None:
        self._settings, self._clock, self._directory, self._started = settings, clock, directory, started
        self.records: dict[str, Endpoint] = {}
        self.deleted: list[str] = []

    def create(self, model: LeptonDeployment, raw: dict[str, Any] | None) -> Endpoint:
        """Create an endpoint."""
        name = check_endpoint(self._settings, model)
        assert model.metadata
        assert model.spec
        if name in self.records:
            raise ApiError(409, "Conflict", f"endpoint {name} already exists")
        model.metadata.id_ = model.metadata.name = name
        model.metadata.created_at, model.metadata.created_by = self._clock.millis(), "somebody@example.com"
        if self._settings.secure_defaults and not model.spec.api_tokens and not model.spec.allow_unauthenticated_access:
            model.spec.api_tokens = [TokenVar(value=secrets.token_hex(16))]
        gateway = Gateway(self._clock.now)
        gateway.tokens = token_values(self._settings, model)
        endpoint = Endpoint(model, raw, self._directory / name, gateway, self._settings.delays.starting)
        endpoint.since = self._clock.now()
        self.records[name] = endpoint
        return endpoint

    def get(self, name: str) -> Endpoint:
        if name not in self.records:
            raise ApiError(404, "ResourceNotFound", f"endpoint {name} not found")
        return self.records[name]

    def change(self, endpoint: Endpoint, model: LeptonDeployment, raw: dict[str, Any] | None) -> None:
        """Apply a new spec; requesting replicas wakes an endpoint that is scaled to zero."""
        old_container = endpoint.model.spec.container if endpoint.model.spec else None
        assert model.spec
        if endpoint.asleep:
            endpoint.since = self._clock.now()  # the readiness timeout starts again
        endpoint.model, endpoint.raw, endpoint.asleep = model, raw, False
        endpoint.gateway.tokens = token_values(self._settings, model)
        if model.spec.container != old_container:
            self.restart(endpoint)

    def restart(self, endpoint: Endpoint) -> None:
        """Kill the server, so that it is started again."""
        endpoint.kill()
        endpoint.remaining_requests = self._settings.delays.starting
        endpoint.set_state(State.Restarting, Reason.InProgress)

    def delete(self, endpoint: Endpoint) -> None:
        """Kill the server and delete the endpoint, immediately or after some requests."""
        endpoint.kill()
        endpoint.log.finish()
        endpoint.remaining_requests = self._settings.delays.deleting
        endpoint.set_state(State.Deleting, Reason.Deleting)
        if not endpoint.remaining_requests:
            self._remove(endpoint)

    def _remove(self, endpoint: Endpoint) -> None:
        endpoint.gateway.close()
        del self.records[endpoint.name]
        self.deleted.append(endpoint.name)

    def count_request(self, endpoint: Endpoint) -> None:
        """Count a request for the endpoint, which shortens its delays."""
        if endpoint.remaining_requests:
            endpoint.remaining_requests -= 1
            if not endpoint.remaining_requests and endpoint.state is State.Deleting:
                self._remove(endpoint)

    def settle(self) -> None:
        """Apply all state changes that are due."""
        for endpoint in list(self.records.values()):
            if endpoint.state is State.Deleting:
                continue
            self._restart_crashed(endpoint)
            self._scale_to_zero(endpoint)
            if not endpoint.desired_replicas:
                self._stop(endpoint)
            elif not endpoint.running and not endpoint.remaining_requests:
                self._start(endpoint)
            elif endpoint.running and not endpoint.ready and endpoint.listens():
                endpoint.set_state(State.Ready, Reason.Ready)
                endpoint.gateway.last_traffic = self._clock.now()

    def _start(self, endpoint: Endpoint) -> None:
        used = [other.shape for other in self.records.values() if other.running]
        assert endpoint.model.spec
        image = endpoint.model.spec.container.image if endpoint.model.spec.container else None
        if endpoint.shape in self._settings.no_capacity:
            endpoint.set_state(State.NotReady, Reason.NoCapacity, f"no capacity for {endpoint.shape}")
        elif not fits(self._settings, used, endpoint.shape):
            endpoint.set_state(State.NotReady, Reason.Queueing, "the workspace's quota is used up")
        elif image in self._settings.missing_images:
            endpoint.set_state(State.NotReady, Reason.ConfigError, f"failed to pull image {image}")
        else:
            endpoint.launch(self._settings, self._clock)
            self._started.append(Started(kind="endpoint", name=endpoint.name, id=endpoint.name, run=endpoint.runs))

    def _stop(self, endpoint: Endpoint) -> None:
        if endpoint.running and endpoint.state is not State.Stopping:
            endpoint.set_state(State.Stopping, Reason.InProgress)
            assert endpoint.container
            endpoint.container.stop(self._settings.grace)
        elif not endpoint.running:
            endpoint.container = None
            endpoint.remaining_requests = 0
            endpoint.set_state(State.Stopped, Reason.Deleted)

    def _restart_crashed(self, endpoint: Endpoint) -> None:
        """Schedule the restart of a server that has exited; the endpoint's reason shows its exit code."""
        container = endpoint.container
        if container is None or container.exit_code is None or not endpoint.desired_replicas:
            return
        code, now = container.exit_code, int(self._clock.now())
        termination = ReplicaTermination(
            started_at=int(endpoint.since), finished_at=now, exit_code=code, reason="Error", message=f"exit code {code}"
        )
        endpoint.terminations.append(termination)
        endpoint.container = None
        # NOTE: a crash loop backs off: each restart takes one request more.
        endpoint.remaining_requests = len(endpoint.terminations)
        endpoint.set_state(State.NotReady, Reason.ConfigError, f"the container exited with {code}; restarting")

    def _scale_to_zero(self, endpoint: Endpoint) -> None:
        """Scale an endpoint to zero that has no traffic, or has not become ready in time."""
        no_traffic, not_ready = idle_limits(endpoint.model)
        now = self._clock.now()
        idle = endpoint.ready and no_traffic and now - endpoint.gateway.last_traffic >= no_traffic
        overdue = not endpoint.ready and not_ready and now - endpoint.since >= not_ready
        if endpoint.desired_replicas and (idle or overdue):
            endpoint.asleep = True
