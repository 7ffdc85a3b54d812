"""The executor of DGX Cloud Lepton."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from nel_action.errors import CollectError, ExecutorError, NotFoundError, Problem, UnreachableError
from nel_action.executors.interface import ExecutorContext
from nel_action.executors.lepton.cancel import cancel
from nel_action.executors.lepton.client import Cloud, quiet
from nel_action.executors.lepton.collect import Collector
from nel_action.executors.lepton.endpoints import Endpoints
from nel_action.executors.lepton.job_log import History, job_id, job_name
from nel_action.executors.lepton.lepton_job import BoundJob
from nel_action.executors.lepton.logs import stream
from nel_action.executors.lepton.names import split_attempt, split_secret
from nel_action.executors.lepton.request_bodies import (
    endpoint_body,
    endpoint_environment,
    job_body,
    job_environment,
    name_of_endpoint,
)
from nel_action.executors.lepton.secrets import Vault
from nel_action.executors.lepton.status import Observer, active, choose, endpoint_of, invocation_of
from nel_action.executors.lepton.workspace import Workspace
from nel_action.model.job import Attempt, JobStatus, Key, attempt_name, newest
from nel_action.planning.jobs import Job, Plan
from nel_action.spec.lepton import LeptonExecution

__all__ = ["LeptonExecutor"]

POLL_INTERVAL: Final = (2.0, 60.0)
"""Seconds between looks: the platform moves in seconds, evaluations in minutes."""

LOOK_AGAIN: Final = (0.0, 1.0, 3.0)
"""Seconds before each look for a job whose submission was not answered."""

OLD_SECRET: Final = 3600.0
"""Seconds after which a secret of ours goes that no live job or endpoint is known for."""

UNKNOWN_INVOCATION: Final = "0" * 16


class LeptonExecutor:
    """Runs jobs in a workspace of DGX Cloud Lepton, and serves their model there."""

    poll_interval: Final = POLL_INTERVAL

    def __init__(self, settings: LeptonExecution, workspace: ExecutorContext) -> None:
        self._settings = settings
        self._here = workspace

    @cached_property
    def cloud(self) -> Cloud:
        """The workspace's API; its SDK is loaded at the first request."""
        return Cloud(self._here.environ)

    @cached_property
    def _vault(self) -> Vault:
        return Vault(self.cloud)

    @cached_property
    def _endpoints(self) -> Endpoints:
        return Endpoints(self.cloud, self._vault)

    @cached_property
    def _workspace(self) -> Workspace:
        return Workspace(self.cloud)

    @cached_property
    def _history(self) -> History:
        return History(self.cloud)

    @cached_property
    def observer(self) -> Observer:
        """Looks at jobs and endpoints."""
        quiet(self._here.environ)
        return Observer(self.cloud, self._vault, self._endpoints, self._history)

    def _bind(self, job: Job, number: int, base_url: str | None = None) -> BoundJob:
        return BoundJob(job, number, self._settings, self._here.base_dir, base_url)

    def check(self, plan: Plan) -> Sequence[Problem]:
        """Say what would keep the plan from running there."""
        from nel_action.executors.lepton.check import check

        bound = [self._bind(job, 1) for job in plan.jobs]
        return check(self._workspace, self._vault, self._settings, bound, self._here.environ)

    def survey(self) -> Sequence[tuple[str, str]]:
        """Say what the workspace has, for `doctor`.

        Raises:
            NelActionError: it does not tell.
        """
        return self._workspace.facts()

    def resolve(self, images: Sequence[str]) -> Mapping[str, str]:
        """Return the digests that references already hold; the machines that pull images are not asked."""
        return {image: image.partition("@")[2] for image in images if "@" in image}

    def find(self, keys: Sequence[Key]) -> Mapping[Key, Attempt]:
        """Return the newest attempt under each key; take down what runs of ours have left behind.

        Raises:
            UnreachableError: the workspace did not answer.
        """
        items = self.observer.listing()
        self._sweep(items)
        chosen, _ = choose(items)
        wanted = set(keys)
        found = []
        for name, item in chosen.items():
            own = split_attempt(name)
            if own is not None and own[0] in wanted:
                found.append(_attempt(own, item))
        return newest(found)

    def _sweep(self, items: Sequence[Mapping[str, Any]]) -> None:
        """Take away endpoints and secrets that nobody needs any more, whoever made them."""
        alive = [item for item in items if active(item)]
        self._endpoints.sweep({name for name in map(endpoint_of, alive) if name})
        try:
            owners = [(split_secret(name), name) for name in self._vault.names()]
            old = [(one[0], name) for one, name in owners if one and time.time() - one[1] > OLD_SECRET]
            if old:
                needed = {job_name(item) for item in alive} | set(self._endpoints.all())
                self._vault.remove([name for owner, name in old if owner not in needed])
        except (UnreachableError, ExecutorError):
            return  # whoever looks next sweeps again

    def submit(self, job: Job, number: int, invocation: str) -> Attempt:
        """Submit an attempt, or return the one that is there.

        Raises:
            SecretError: a variable has no value here.
            ExecutorError: the platform refuses it.
            UnreachableError: it is not known whether it was submitted; `find` or another call tells.
        """
        name = attempt_name(job.key, number)
        if (there := self._named(name)) is not None:
            return _attempt((job.key, number), there)
        platform = self._settings.lepton_platform
        base_url = token = None
        bound = self._bind(job, number)
        if bound.serving is not None:
            group = self._workspace.group(platform.deployment.node_group)
            base_url, token = self._endpoints.ensure(bound.serving, invocation, self._here.environ, group)
            self.observer.own.add(name_of_endpoint(bound.serving, invocation))
            bound = self._bind(job, number, base_url)
        environment = job_environment(bound, time.time(), token)
        group = self._workspace.group(platform.tasks.node_group)
        body = job_body(bound, environment, invocation=invocation, group=group)
        self._vault.put(environment.values(self._here.environ))
        return _attempt((job.key, number), self._create(name, body))

    def _create(self, name: str, body: Mapping[str, Any]) -> Mapping[str, Any]:
        """Create a job; where the answer was lost, look whether it is there."""
        from leptonai.api.v2.job_validation import validate_job_create
        from leptonai.api.v2.types.job import LeptonJob

        try:
            validate_job_create(LeptonJob.model_validate(body))
        except ValueError as error:
            msg = f"Lepton would refuse {name}: {' '.join(str(error).split())}"
            raise ExecutorError(msg) from error
        try:
            answer = self.cloud.request("post", "/jobs", what=f"submit {name}", again=False, json=body)
        except UnreachableError:
            for pause in LOOK_AGAIN:
                self.cloud.sleep(pause)
                if (there := self._named(name)) is not None:
                    return there
            raise
        except ExecutorError:
            # NOTE: refused because the name is taken means that it is there.
            if (there := self._named(name)) is not None:
                return there
            raise
        if not isinstance(answer, dict) or not job_id(answer):
            return self._named(name) or {}
        return self._eldest(name, answer)

    def _eldest(self, name: str, made: Mapping[str, Any]) -> Mapping[str, Any]:
        """Give way to whoever submitted the same at the same time: Lepton may take a name twice."""
        try:
            chosen, second = choose(item for item in self.cloud.jobs(name) if job_name(item) == name)
        except UnreachableError:
            return made  # `poll` ends what was submitted a second time
        for item in second:
            if job_id(item) == job_id(made) and active(item):
                self.observer.stop(item)
        return chosen.get(name, made)

    def _named(self, name: str) -> Mapping[str, Any] | None:
        """Return the job of that name, alive or archived."""
        chosen, _ = choose(item for item in self.cloud.jobs(name) if job_name(item) == name)
        return chosen.get(name)

    def poll(self, attempts: Sequence[Attempt]) -> Mapping[Key, JobStatus]:
        """Look at all of them in one listing, and see to the endpoints that they need, or no longer need."""
        return self.observer.look(attempts)

    def logs(self, attempt: Attempt, *, follow: bool) -> Iterator[str]:
        """Stream what the job says.

        Raises:
            UnreachableError: the platform does not answer.
        """
        name = attempt_name(attempt.key, attempt.number)

        def ended() -> bool:
            item = self._named(name)
            return item is not None and not active(item)

        return stream(self.cloud, self._history, lambda: self._named(name), follow=follow, ended=ended)

    def cancel(self, attempts: Sequence[Attempt]) -> None:
        """End them and the endpoints that only they needed, and see that all that ended.

        Raises:
            ExecutorError: some still run.
            UnreachableError: the platform does not answer.
        """
        if attempts:
            cancel(self.observer, {attempt_name(attempt.key, attempt.number) for attempt in attempts})

    def release(self, invocation: str) -> None:
        """End all that an invocation has made: jobs whose submission it never came to note, and endpoints.

        Raises:
            NelActionError: something is still there, or the workspace does not answer.
        """
        items = self.observer.listing()
        if names := {job_name(item) for item in items if active(item) and invocation_of(item) == invocation}:
            cancel(self.observer, names)
            items = self.observer.listing()
        needed = {endpoint_of(item) for item in items if active(item)}
        for name in self._endpoints.of(invocation) - needed:
            self._endpoints.remove(name)

    def collect(self, attempt: Attempt, into: Path) -> None:
        """Bring artifacts and logs home, whole.

        Raises:
            CollectError: they did not come whole.
        """
        name = attempt_name(attempt.key, attempt.number)
        try:
            item = self._named(name)
        except (UnreachableError, ExecutorError) as error:
            msg = f"the results of {name} did not come: {error.problems[0].message}"
            raise CollectError(msg, hint="nothing is lost: collect again") from error
        if item is None:
            msg = f"Lepton has forgotten {name}, its log and all"
            raise CollectError(msg, hint="its time to live ran out, or it was deleted; run it again")
        Collector(self._history, self._local()).collect(item, into)

    def _local(self) -> Path | None:
        """Return where this machine sees the attempts' folders on the mounted volume."""
        tasks = self._settings.lepton_platform.tasks
        path = (
            tasks.mounts[0].local_path if tasks.mounts and self._settings.evaluation_tasks.use_shared_storage else None
        )
        return self._here.base_dir / path / "nel-action" if path else None

    def scripts(self, job: Job, number: int) -> Mapping[str, str]:
        """Return the job's exact body, but for what only the platform knows: an address and a node group's id."""
        bound = self._bind(job, number)
        token = None
        if bound.serving is not None:
            token = "NAME-OF-THE-SECRET-WITH-ITS-TOKEN"  # noqa: S105 - stands for a name
        environment = job_environment(bound, 0, token)
        group = self._settings.lepton_platform.tasks.node_group
        body = job_body(bound, environment, invocation=UNKNOWN_INVOCATION, group=group)
        order = json.dumps(bound.order(environment.hidden), indent=2)
        return {"lepton_job.json": _text(body), "lepton_order.json": f"{order}\n"}

    def plan_scripts(self, plan: Plan) -> Mapping[str, str]:
        """Return the exact body of each endpoint."""
        group = self._settings.lepton_platform.deployment.node_group
        found = {}
        for job in plan.jobs:
            if (serving := self._bind(job, 1).serving) is None:
                continue
            name = name_of_endpoint(serving, UNKNOWN_INVOCATION)
            environment = endpoint_environment(name, serving, 0, UNKNOWN_INVOCATION)
            found[name] = _text(endpoint_body(name, serving, environment, group=group, token="***"))  # noqa: S106
        files = [f"lepton_endpoint{f'_{at}' if at else ''}.json" for at in range(len(found))]
        return dict(zip(files, found.values(), strict=True))

    def describe(self, attempt: Attempt) -> Mapping[str, str]:
        """Say where an attempt is found on the dashboard.

        Raises:
            NotFoundError: the workspace does not know it.
        """
        item = self._named(attempt_name(attempt.key, attempt.number))
        if item is None:
            msg = f"Lepton does not list {attempt_name(attempt.key, attempt.number)}"
            raise NotFoundError(msg)
        page = f"{self.cloud.dashboard}/compute/jobs/detail/{job_id(item)}/replicas/list"
        return {"job": job_id(item), "page": page, "endpoint": endpoint_of(item) or "none of ours"}

    def close(self) -> None:
        """Hang up."""
        if "cloud" in self.__dict__:
            self.cloud.close()


def _attempt(own: tuple[Key, int], item: Mapping[str, Any]) -> Attempt:
    return Attempt(key=own[0], number=own[1], backend_id=job_id(item) or attempt_name(*own))


def _text(body: Mapping[str, Any]) -> str:
    return json.dumps(body, indent=2) + "\n"
