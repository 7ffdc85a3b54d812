"""Endpoints: one for each deployment, shared by its jobs, woken when it sleeps, and always taken down."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from nel_action.errors import EngineError, ExecutorError, NelActionError, UnreachableError
from nel_action.executors.lepton.client import Cloud, MissingError
from nel_action.executors.lepton.model_server import Serving
from nel_action.executors.lepton.names import KEEP, OURS, TOKEN, secret_name
from nel_action.executors.lepton.request_bodies import endpoint_body, endpoint_environment, name_of_endpoint
from nel_action.executors.lepton.secrets import Vault

if TYPE_CHECKING:
    from leptonai.api.v2.types.deployment import LeptonDeployment

__all__ = ["Endpoints", "Sight"]

ADDRESS_SECONDS: Final = 120.0
"""Seconds in which the platform must tell a new endpoint's address."""

GONE_SECONDS: Final = 120.0
"""Seconds in which an endpoint must be gone that was taken down."""

ABANDONED: Final = 900.0
"""Seconds after which an endpoint of ours that no job needs is taken down by whoever sees it."""


@dataclass(frozen=True, slots=True)
class Sight:
    """An endpoint as it was just seen."""

    name: str
    state: str
    """The platform's word."""
    ready: bool
    asleep: bool
    """Scaled to zero."""
    leaving: bool
    """On its way out."""
    owner: str | None
    """The invocation that made it; None where it is none of ours."""
    keep: bool
    url: str
    created: float
    """Seconds since 1970."""
    least: int

    @property
    def ours(self) -> bool:
        """Whether some run of ours made it."""
        return self.owner is not None


@dataclass
class Endpoints:
    """All that is done with endpoints."""

    cloud: Cloud
    vault: Vault
    clock: Callable[[], float] = time.time
    _known: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Name → address and secret of those that this process has seen to."""

    def all(self) -> dict[str, Sight]:
        """Return every endpoint of the workspace, by name, in one listing.

        Raises:
            NelActionError: the workspace does not tell.
        """
        found = self.cloud.call("list endpoints", self.cloud.client.deployment.list_all)
        return {sight.name: sight for sight in map(_sight, found)}

    def get(self, name: str) -> Sight | None:
        """Return one endpoint, or None where there is none of that name.

        Raises:
            NelActionError: the workspace does not tell.
        """
        try:
            return _sight(self.cloud.call(f"see endpoint {name}", lambda: self.cloud.client.deployment.get(name)))
        except MissingError:
            return None

    def ensure(
        self, serving: Serving, invocation: str, environ: Mapping[str, str], group: str | None
    ) -> tuple[str, str]:
        """See that a deployment's endpoint is there and awake; return its address and the secret with its token.

        Raises:
            SecretError: a variable of the server has no value here.
            ExecutorError: the platform refuses it.
            UnreachableError: the platform does not answer; calling again does no harm.
        """
        name = name_of_endpoint(serving, invocation)
        if name in self._known:
            return self._known[name]
        there = self.get(name)
        if there is not None and there.leaving:
            self._await_gone(name)
            there = None
        tokens = self.vault.of(name, TOKEN)
        if there is not None and not tokens:
            # NOTE: nobody knows its token any more, and so nobody can be using it.
            self.remove(name)
            there = None
        if there is None:
            tokens = [self._create(name, serving, invocation, environ, group)]
        elif there.asleep:
            self.wake(there, serving.config.min_replicas)
        self._known[name] = (self._address(name), tokens[-1])
        return self._known[name]

    def _create(
        self, name: str, serving: Serving, invocation: str, environ: Mapping[str, str], group: str | None
    ) -> str:
        moment = self.clock()
        environment = endpoint_environment(name, serving, moment, invocation)
        token, holder = secrets.token_urlsafe(32), secret_name(name, moment, TOKEN)
        self.vault.put({**environment.values(environ), holder: token})
        body = endpoint_body(name, serving, environment, group=group, token=token)

        def create() -> object:
            from leptonai.api.v2.types.deployment import LeptonDeployment

            return self.cloud.client.deployment.create_with_response(LeptonDeployment.model_validate(body))

        try:
            self.cloud.call(f"create the endpoint {name}", create, again=False)
        except (UnreachableError, ExecutorError) as error:
            # NOTE: the answer may be lost and the endpoint there; who asks for the same name is told of a conflict.
            if isinstance(error, EngineError) or self.get(name) is None:
                raise
        return holder

    def _address(self, name: str) -> str:
        deadline = time.monotonic() + ADDRESS_SECONDS
        while True:
            sight = self.get(name)
            if sight is not None and sight.url:
                return sight.url.rstrip("/")
            if time.monotonic() > deadline:
                msg = f"Lepton has not told the address of endpoint {name} within {ADDRESS_SECONDS:g} s"
                raise UnreachableError(msg, hint="look at the endpoint on the dashboard; submitting again continues")
            self.cloud.sleep(1)

    def wake(self, sight: Sight, least: int = 1) -> None:
        """Give an endpoint that was scaled to zero its replicas back; the platform never does so by itself.

        Raises:
            NelActionError: it could not be.
        """

        def update() -> object:
            from leptonai.api.v2.types import deployment as types

            requirement = types.ResourceRequirement(min_replicas=max(least, sight.least, 1))
            spec = types.LeptonDeploymentUserSpec(resource_requirement=requirement)
            return self.cloud.client.deployment.update(sight.name, types.LeptonDeployment(spec=spec))

        self.cloud.call(f"wake the endpoint {sight.name}", update)

    def why(self, sight: Sight) -> tuple[str, str]:
        """Say why an endpoint is not ready: the platform's word for it, and its message.

        Raises:
            NelActionError: the workspace does not tell.
        """
        api = self.cloud.client.deployment
        try:
            issues = self.cloud.call("ask for readiness", lambda: api.get_readiness(sight.name)).root
        except ExecutorError:
            # NOTE: the newer API has no such route; events tell the same in other words.
            return self._why_by_events(sight)
        for issue in (one for replica in issues.values() for one in replica):
            if issue.reason.value != "Ready":
                return issue.reason.value, " ".join(issue.message.split())
        return sight.state, ""

    def _why_by_events(self, sight: Sight) -> tuple[str, str]:
        api = self.cloud.client.deployment
        try:
            events = self.cloud.call("ask for events", lambda: api.get_events(sight.name))
        except ExecutorError:
            return sight.state, ""
        warned = [event.reason for event in events if event.type_ != "Normal"]
        return sight.state, ", ".join(dict.fromkeys(warned))

    def remove(self, name: str) -> None:
        """Take an endpoint down, see that it is gone, and take its secrets away.

        Raises:
            ExecutorError: it is still there.
            UnreachableError: the platform does not answer.
        """
        self._known.pop(name, None)
        with contextlib.suppress(MissingError):
            self.cloud.call(f"take down endpoint {name}", lambda: self.cloud.client.deployment.delete(name))
        self._await_gone(name)
        self.vault.clear({name})

    def _await_gone(self, name: str) -> None:
        deadline, pause = time.monotonic() + GONE_SECONDS, 0.2
        while self.get(name) is not None:
            if time.monotonic() > deadline:
                msg = f"endpoint {name} is still there {GONE_SECONDS:g} s after it was taken down"
                raise ExecutorError(msg, hint="it may cost money: take it down on the dashboard")
            self.cloud.sleep(pause)
            pause = min(pause * 1.5, 3.0)

    def of(self, invocation: str) -> set[str]:
        """Return the names of the endpoints that an invocation made and that are not to be kept.

        Raises:
            NelActionError: the workspace does not tell.
        """
        return {one.name for one in self.all().values() if one.owner == invocation and not one.keep}

    def sweep(self, needed: Collection[str]) -> list[str]:
        """Take down endpoints of ours that nobody needs any more, whoever made them; return their names.

        Args:
            needed: endpoints of jobs that have not ended.
        """
        removed = []
        try:
            for sight in self.all().values():
                old = self.clock() - sight.created > ABANDONED
                if sight.ours and not sight.keep and not sight.leaving and old and sight.name not in needed:
                    self.remove(sight.name)
                    removed.append(sight.name)
        except NelActionError:
            # NOTE: whoever looks next sweeps again, and an idle endpoint scales to zero by itself.
            return removed
        return removed


def _sight(model: LeptonDeployment) -> Sight:
    metadata, spec, status = model.metadata, model.spec, model.status
    state: Any = (status.phase or status.state) if status else None
    word = str(getattr(state, "value", state or ""))
    envs = {env.name: env.value for env in (spec.envs if spec else None) or []}
    requirement = spec.resource_requirement if spec else None
    least = requirement.min_replicas if requirement else None
    return Sight(
        name=str((metadata.name or metadata.id_) if metadata else ""),
        state=word,
        ready=word == "Ready",
        asleep=word == "Stopped" or (least == 0 and word != "Stopping"),
        leaving=word == "Deleting",
        owner=envs.get(OURS),
        keep=envs.get(KEEP) == "yes",
        url=str(status.endpoint.external_endpoint or "") if status and status.endpoint else "",
        created=((metadata.created_at if metadata else None) or 0) / 1000,
        least=least or 0,
    )
