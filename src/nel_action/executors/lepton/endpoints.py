"""Endpoints of the workspace: creation, status, waking and deletion."""

from __future__ import annotations

import contextlib
import logging
import secrets
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from nel_action.errors import EngineError, ExecutorError, UnreachableError
from nel_action.executors.lepton.client import LeptonClient, MissingError
from nel_action.executors.lepton.environment import ENDPOINT_TOKEN, SecretName, SecretStore
from nel_action.executors.lepton.model_server import ModelServer
from nel_action.executors.lepton.request_bodies import (
    INVOCATION_VARIABLE,
    KEEP_VARIABLE,
    endpoint_body,
    endpoint_environment,
    endpoint_name,
)
from nel_action.retry import Backoff

if TYPE_CHECKING:
    from leptonai.api.v2.client import APIClient
    from leptonai.api.v2.types.deployment import LeptonDeployment

__all__ = ["EndpointStatus", "Endpoints"]

logger = logging.getLogger(__name__)

ADDRESS_SECONDS: Final = 120.0
"""Seconds within which the platform must assign an address to a new endpoint."""

ADDRESS_BACKOFF: Final = Backoff(initial=1.0, factor=1.0, maximum=1.0)

DELETION_SECONDS: Final = 120.0
"""Seconds within which a deleted endpoint must disappear."""

DELETION_BACKOFF: Final = Backoff(initial=0.2, factor=1.5, maximum=3.0)

ABANDONED_SECONDS: Final = 900.0
"""Age in seconds from which an endpoint that no job needs counts as abandoned."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointStatus:
    """The state of one endpoint at the time of a listing."""

    name: str
    state: str
    """The platform's state."""
    ready: bool
    asleep: bool
    """Whether it is scaled to zero."""
    leaving: bool
    """Whether it is being deleted."""
    invocation: str | None
    """The invocation that created it; None for an endpoint that nel-action did not create."""
    keep: bool
    """Whether it is kept for later invocations."""
    url: str
    created: float
    """Seconds since 1970."""
    min_replicas: int

    @classmethod
    def parse(cls, model: LeptonDeployment) -> EndpointStatus:
        """Read the SDK's description of an endpoint."""
        metadata, spec, status = model.metadata, model.spec, model.status
        phase: Any = (status.phase or status.state) if status else None
        state = str(getattr(phase, "value", phase or ""))
        variables = {env.name: env.value for env in (spec.envs if spec else None) or []}
        requirement = spec.resource_requirement if spec else None
        min_replicas = requirement.min_replicas if requirement else None
        return cls(
            name=str((metadata.name or metadata.id_) if metadata else ""),
            state=state,
            ready=state == "Ready",
            asleep=state == "Stopped" or (min_replicas == 0 and state != "Stopping"),
            leaving=state == "Deleting",
            invocation=variables.get(INVOCATION_VARIABLE),
            keep=variables.get(KEEP_VARIABLE) == "yes",
            url=str(status.endpoint.external_endpoint or "") if status and status.endpoint else "",
            created=((metadata.created_at if metadata else None) or 0) / 1000,
            min_replicas=min_replicas or 0,
        )

    @property
    def disposable(self) -> bool:
        """Whether nel-action created it and may delete it."""
        return self.invocation is not None and not self.keep


@dataclass
class Endpoints:
    """The endpoints of a workspace."""

    client: LeptonClient
    secrets: SecretStore
    clock: Callable[[], float] = time.time
    """Returns seconds since 1970."""
    _ensured: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Endpoint name to address and token secret, for endpoints that this process has ensured."""

    def statuses(self) -> dict[str, EndpointStatus]:
        """Return every endpoint of the workspace, by name, in one request.

        Raises:
            NelActionError: the request failed.
        """
        models = self.client.call("list endpoints", lambda sdk: sdk.deployment.list_all())
        return {status.name: status for status in map(EndpointStatus.parse, models)}

    def get(self, name: str) -> EndpointStatus | None:
        """Return one endpoint, or None where it does not exist.

        Raises:
            NelActionError: the request failed.
        """
        try:
            model = self.client.call(f"get the endpoint {name}", lambda sdk: sdk.deployment.get(name))
        except MissingError:
            return None
        return EndpointStatus.parse(model)

    def created_by(self, invocation: str) -> set[str]:
        """Return the names of the endpoints that an invocation created, except those to keep.

        Raises:
            NelActionError: the request failed.
        """
        statuses = self.statuses().values()
        return {status.name for status in statuses if status.invocation == invocation and not status.keep}

    def abandoned(self, needed: Collection[str]) -> list[str]:
        """Return the names of disposable endpoints older than `ABANDONED_SECONDS` that no job needs.

        Args:
            needed: names of the endpoints of active jobs.

        Raises:
            NelActionError: the request failed.
        """
        now = self.clock()
        return [
            status.name
            for status in self.statuses().values()
            if status.disposable
            and not status.leaving
            and now - status.created > ABANDONED_SECONDS
            and status.name not in needed
        ]

    def ensure(
        self, model_server: ModelServer, invocation: str, environ: Mapping[str, str], node_group: str | None
    ) -> tuple[str, str]:
        """Create or wake the endpoint of a deployment; calling it again is safe.

        Args:
            model_server: the server.
            invocation: id of the invocation.
            environ: source of the values of `host:` variables.
            node_group: id of the node group, where the spec names one.

        Returns:
            The endpoint's address, and the name of the workspace secret that holds its token.

        Raises:
            SecretError: a variable of the server is not set in `environ`.
            ExecutorError: the platform rejected the endpoint.
            UnreachableError: the platform did not respond.
        """
        name = endpoint_name(model_server, invocation)
        if name in self._ensured:
            return self._ensured[name]
        status = self.get(name)
        if status is not None and status.leaving:
            self._wait_until_deleted(name)
            status = None
        tokens = self.secrets.names_of(name, ENDPOINT_TOKEN)
        if status is not None and not tokens:
            # NOTE: without its token the endpoint is unusable, so no job can be using it.
            self.delete(name)
            status = None
        if status is None:
            tokens = [self._create(name, model_server, invocation, environ, node_group)]
        elif status.asleep:
            self.wake(status, model_server.config.min_replicas)
        self._ensured[name] = (self._wait_for_address(name), tokens[-1])
        return self._ensured[name]

    def _create(
        self,
        name: str,
        model_server: ModelServer,
        invocation: str,
        environ: Mapping[str, str],
        node_group: str | None,
    ) -> str:
        """Create an endpoint and its secrets; return the name of the secret that holds its token."""
        now = self.clock()
        environment = endpoint_environment(name, model_server, now, invocation)
        token, token_secret = secrets.token_urlsafe(32), str(SecretName(name, int(now), ENDPOINT_TOKEN))
        self.secrets.create({**environment.secret_values(environ), token_secret: token})
        body = endpoint_body(name, model_server, environment, node_group=node_group, token=token)

        def create(sdk: APIClient) -> object:
            from leptonai.api.v2.types.deployment import LeptonDeployment

            return sdk.deployment.create_with_response(LeptonDeployment.model_validate(body))

        logger.info("creating the endpoint %s", name)
        try:
            self.client.call(f"create the endpoint {name}", create, idempotent=False)
        except (UnreachableError, ExecutorError) as error:
            # NOTE: after a lost response, or a conflict with another process, the endpoint exists.
            if isinstance(error, EngineError) or self.get(name) is None:
                raise
        return token_secret

    def _wait_for_address(self, name: str) -> str:
        """Wait until the platform has assigned an address.

        Raises:
            UnreachableError: it has not within `ADDRESS_SECONDS`.
        """

        def address() -> str | None:
            status = self.get(name)
            return (status.url.rstrip("/") or None) if status is not None else None

        url = self.client.wait_for(address, seconds=ADDRESS_SECONDS, backoff=ADDRESS_BACKOFF)
        if url is None:
            msg = f"endpoint {name} has no address after {ADDRESS_SECONDS:g} s"
            raise UnreachableError(msg, hint="check the endpoint on the dashboard; submitting again continues")
        return url

    def wake(self, status: EndpointStatus, min_replicas: int = 1) -> None:
        """Restore the replicas of an endpoint that is scaled to zero; the platform does not do so on a request.

        Args:
            status: the endpoint.
            min_replicas: the number of replicas that the spec requires.

        Raises:
            NelActionError: the request failed.
        """

        def update(sdk: APIClient) -> object:
            from leptonai.api.v2.types import deployment as types

            requirement = types.ResourceRequirement(min_replicas=max(min_replicas, status.min_replicas, 1))
            spec = types.LeptonDeploymentUserSpec(resource_requirement=requirement)
            return sdk.deployment.update(status.name, types.LeptonDeployment(spec=spec))

        logger.info("waking the endpoint %s", status.name)
        self.client.call(f"wake the endpoint {status.name}", update)

    def readiness_issue(self, status: EndpointStatus) -> tuple[str, str]:
        """Return why an endpoint is not ready: the platform's reason, and its message.

        Raises:
            NelActionError: the request failed.
        """
        try:
            issues = self.client.call(
                "read an endpoint's readiness", lambda sdk: sdk.deployment.get_readiness(status.name)
            ).root
        except ExecutorError:
            # NOTE: the newer API lacks this route; its events contain the same information.
            return self._warning_events(status)
        for issue in (issue for replica in issues.values() for issue in replica):
            if issue.reason.value != "Ready":
                return issue.reason.value, " ".join(issue.message.split())
        return status.state, ""

    def _warning_events(self, status: EndpointStatus) -> tuple[str, str]:
        try:
            events = self.client.call("read an endpoint's events", lambda sdk: sdk.deployment.get_events(status.name))
        except ExecutorError:
            return status.state, ""
        warnings = [event.reason for event in events if event.type_ != "Normal"]
        return status.state, ", ".join(dict.fromkeys(warnings))

    def delete(self, name: str) -> None:
        """Delete an endpoint, wait until it has disappeared, and delete its secrets.

        Raises:
            ExecutorError: it still exists.
            UnreachableError: the platform did not respond.
        """
        logger.info("deleting the endpoint %s", name)
        self._ensured.pop(name, None)
        with contextlib.suppress(MissingError):
            self.client.call(f"delete the endpoint {name}", lambda sdk: sdk.deployment.delete(name))
        self._wait_until_deleted(name)
        self.secrets.delete_of({name})

    def _wait_until_deleted(self, name: str) -> None:
        """Wait until an endpoint has disappeared.

        Raises:
            ExecutorError: it still exists after `DELETION_SECONDS`.
        """

        def deleted() -> bool | None:
            return self.get(name) is None or None

        if not self.client.wait_for(deleted, seconds=DELETION_SECONDS, backoff=DELETION_BACKOFF):
            msg = f"endpoint {name} still exists {DELETION_SECONDS:g} s after its deletion"
            raise ExecutorError(msg, hint="delete it on the dashboard: it may cause costs")
