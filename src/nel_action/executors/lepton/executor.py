"""The executor of DGX Cloud Lepton."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from nel_action.errors import CollectError, ExecutorError, NelActionError, NotFoundError, Problem, UnreachableError
from nel_action.executors.interface import ExecutorContext
from nel_action.executors.lepton.client import LeptonClient
from nel_action.executors.lepton.collect import Collector
from nel_action.executors.lepton.endpoints import Endpoints
from nel_action.executors.lepton.environment import SecretStore
from nel_action.executors.lepton.job_log import JobLog
from nel_action.executors.lepton.jobs import JobRecord, oldest_by_name
from nel_action.executors.lepton.lepton_job import ATTEMPTS_DIRECTORY, LeptonJob
from nel_action.executors.lepton.maintenance import Maintainer
from nel_action.executors.lepton.request_bodies import (
    endpoint_body,
    endpoint_environment,
    endpoint_name,
    job_body,
    job_environment,
)
from nel_action.executors.lepton.status import Observation, Observer
from nel_action.executors.lepton.workspace import LeptonWorkspace
from nel_action.model.job import Attempt, JobStatus, Key, attempt_name, newest
from nel_action.planning.jobs import Job, Plan
from nel_action.retry import Backoff
from nel_action.spec.lepton import LeptonExecution

__all__ = ["LeptonExecutor"]

logger = logging.getLogger(__name__)

LOST_RESPONSE_SECONDS: Final = 4.0
"""Seconds for which a job is looked up after the response to its submission was lost."""

LOST_RESPONSE_BACKOFF: Final = Backoff(initial=1.0, factor=3.0, maximum=3.0)

PLACEHOLDER_INVOCATION: Final = "0" * 16
PLACEHOLDER_TOKEN_SECRET: Final = "NAME-OF-THE-SECRET-WITH-ITS-TOKEN"  # noqa: S105 - not a secret


class LeptonExecutor:
    """Runs jobs in a workspace of DGX Cloud Lepton, and serves their models on endpoints."""

    poll_interval: Final = (2.0, 60.0)

    def __init__(self, settings: LeptonExecution, context: ExecutorContext) -> None:
        self._settings = settings
        self._context = context
        self._observation: Observation | None = None

    @cached_property
    def client(self) -> LeptonClient:
        """The client of the workspace; the SDK is imported by the first request."""
        return LeptonClient(self._context.environ)

    @cached_property
    def secrets(self) -> SecretStore:
        """The secrets of the workspace."""
        return SecretStore(self.client)

    @cached_property
    def endpoints(self) -> Endpoints:
        """The endpoints of the workspace."""
        return Endpoints(self.client, self.secrets)

    @cached_property
    def observer(self) -> Observer:
        """Observes attempts."""
        return Observer(self.client, self.endpoints, self._log)

    @cached_property
    def _workspace(self) -> LeptonWorkspace:
        return LeptonWorkspace(self.client)

    @cached_property
    def _log(self) -> JobLog:
        return JobLog(self.client)

    @cached_property
    def _maintainer(self) -> Maintainer:
        return Maintainer(self.client, self.secrets, self.endpoints, self.observer)

    def _lepton_job(self, job: Job, number: int, base_url: str | None = None) -> LeptonJob:
        return LeptonJob(job, number, self._settings, self._context.base_dir, base_url)

    def check(self, plan: Plan) -> Sequence[Problem]:
        """Return what prevents the plan from running in the workspace."""
        from nel_action.executors.lepton.check import check

        jobs = [self._lepton_job(job, 1) for job in plan.jobs]
        return check(self._workspace, self.secrets, self._settings, jobs, self._context.environ)

    def survey(self) -> Sequence[tuple[str, str]]:
        """Return state, node groups and quota of the workspace.

        Raises:
            NelActionError: a request failed.
        """
        return self._workspace.survey()

    def resolve(self, images: Sequence[str]) -> Mapping[str, str]:
        """Return the digests that the references contain; registries are not queried."""
        return {image: image.partition("@")[2] for image in images if "@" in image}

    def sweep(self, keys: Sequence[Key]) -> None:
        """Delete abandoned endpoints, and expired secrets except those of `keys`, whichever process created them.

        Raises:
            UnreachableError: the workspace did not respond.
        """
        self._maintainer.sweep(keys)

    def find(self, keys: Sequence[Key]) -> Mapping[Key, Attempt]:
        """Return the newest attempt of each key.

        Raises:
            UnreachableError: the workspace did not respond.
        """
        requested = set(keys)
        oldest, _ = oldest_by_name(self.observer.list_jobs())
        jobs = [(job.attempt, job) for job in oldest.values()]
        return newest(_attempt(attempt, job) for attempt, job in jobs if attempt and attempt[0] in requested)

    def submit(self, job: Job, number: int, invocation: str) -> Attempt:
        """Submit an attempt, or return the existing one.

        Args:
            job: the job.
            number: the attempt's number, from 1.
            invocation: id of the invocation.

        Raises:
            SecretError: a variable is not set in this process.
            ExecutorError: the platform rejected the job.
            UnreachableError: whether the job exists is unknown; `find`, or submitting again, shows it.
        """
        name = attempt_name(job.key, number)
        if (existing := self._find_job(name)) is not None:
            logger.info("%s exists already (%s)", name, existing.id)
            return _attempt((job.key, number), existing)
        platform = self._settings.lepton_platform
        base_url = token_secret = None
        lepton_job = self._lepton_job(job, number)
        if (model_server := lepton_job.model_server) is not None:
            node_group = self._workspace.node_group_id(platform.deployment.node_group)
            base_url, token_secret = self.endpoints.ensure(model_server, invocation, self._context.environ, node_group)
            self.observer.own_endpoints.add(endpoint_name(model_server, invocation))
            lepton_job = self._lepton_job(job, number, base_url)
        environment = job_environment(lepton_job, time.time(), token_secret)
        node_group = self._workspace.node_group_id(platform.tasks.node_group)
        body = job_body(lepton_job, environment, invocation=invocation, node_group=node_group)
        self.secrets.create(environment.secret_values(self._context.environ))
        created = self._create(name, body)
        logger.info("submitted %s (%s)", name, created.id if created else "id unknown")
        return _attempt((job.key, number), created)

    def _create(self, name: str, body: Mapping[str, Any]) -> JobRecord | None:
        """Create a job; look it up if the response was lost. Return None where the response names no job."""
        from leptonai.api.v2.job_validation import validate_job_create
        from leptonai.api.v2.types.job import LeptonJob as JobModel

        try:
            validate_job_create(JobModel.model_validate(body))
        except ValueError as error:
            msg = f"Lepton would reject {name}: {' '.join(str(error).split())}"
            raise ExecutorError(msg) from error
        try:
            response = self.client.request("post", "/jobs", operation=f"submit {name}", idempotent=False, json=body)
        except UnreachableError:
            existing = self.client.wait_for(
                lambda: self._find_job(name), seconds=LOST_RESPONSE_SECONDS, backoff=LOST_RESPONSE_BACKOFF
            )
            if existing is not None:
                return existing
            raise
        except ExecutorError:
            # NOTE: rejected because the name is taken: another process submitted the same attempt.
            if (existing := self._find_job(name)) is not None:
                return existing
            raise
        created = JobRecord.parse(response) if isinstance(response, dict) else None
        if created is None or not created.id:
            return self._find_job(name)
        return self._keep_oldest(created)

    def _keep_oldest(self, created: JobRecord) -> JobRecord:
        """Stop the created job if another process submitted the same attempt first: Lepton may accept a name twice."""
        try:
            oldest, duplicates = oldest_by_name(
                job for job in self.client.list_jobs(created.name) if job.name == created.name
            )
        except UnreachableError:
            return created  # NOTE: `reconcile` stops duplicates.
        for job in duplicates:
            if job.id == created.id and job.active:
                logger.info("stopping %s (%s): a duplicate of %s", job.name, job.id, oldest[job.name].id)
                self._maintainer.stop(job)
        return oldest.get(created.name, created)

    def _find_job(self, name: str) -> JobRecord | None:
        """Return the oldest job of that name, active or archived."""
        oldest, _ = oldest_by_name(job for job in self.client.list_jobs(name) if job.name == name)
        return oldest.get(name)

    def poll(self, attempts: Sequence[Attempt]) -> Mapping[Key, JobStatus]:
        """Observe all attempts with one listing of jobs, and one of endpoints where they need any."""
        self._observation = self.observer.observe(attempts)
        return self._observation.statuses()

    def reconcile(self, attempts: Sequence[Attempt], statuses: Mapping[Key, JobStatus]) -> Mapping[Key, JobStatus]:
        """Stop duplicates and jobs that cannot succeed, wake or delete endpoints, and delete unneeded secrets.

        Args:
            attempts: the attempts of the last `poll`.
            statuses: its result.

        Returns:
            The statuses after these changes: an attempt becomes final when its endpoint is deleted.
        """
        observation, self._observation = self._observation, None
        if observation is None or observation.job_statuses.keys() != {attempt.key for attempt in attempts}:
            observation = self.observer.observe(attempts)
        return {**statuses, **self._maintainer.reconcile(attempts, observation)}

    def logs(self, attempt: Attempt, *, follow: bool) -> Iterator[str]:
        """Yield the lines of the job's log.

        Raises:
            UnreachableError: the platform did not respond.
        """
        name = attempt_name(attempt.key, attempt.number)
        return self._log.stream(lambda: self._find_job(name), follow=follow)

    def cancel(self, attempts: Sequence[Attempt]) -> None:
        """Cancel attempts and delete the endpoints that only they needed; wait until both are done.

        Raises:
            ExecutorError: a job is still running, or an endpoint still exists.
            UnreachableError: the platform did not respond.
        """
        if attempts:
            self._maintainer.cancel({attempt_name(attempt.key, attempt.number) for attempt in attempts})

    def release(self, invocation: str) -> None:
        """Cancel all jobs that an invocation submitted, recorded or not, and delete the endpoints that it created.

        Raises:
            NelActionError: something remains, or the workspace did not respond.
        """
        self._maintainer.release(invocation)

    def collect(self, attempt: Attempt, into: Path) -> None:
        """Copy complete artifacts and logs into a directory.

        Raises:
            CollectError: they are incomplete, or not available.
        """
        name = attempt_name(attempt.key, attempt.number)
        try:
            job = self._find_job(name)
        except NelActionError as error:
            msg = f"cannot collect the results of {name}: {error.problems[0].message}"
            raise CollectError(msg, hint="the results are still available: collect again") from error
        if job is None:
            msg = f"cannot collect the results of {name}: Lepton no longer has the job and its log"
            raise CollectError(msg, hint="it has expired or was deleted; run it again")
        Collector(self._log, self._local_volume()).collect(job, into)

    def _local_volume(self) -> Path | None:
        """Return the directory on this machine that has the attempts' directories of the mounted volume."""
        tasks = self._settings.lepton_platform.tasks
        if not tasks.mounts or not self._settings.evaluation_tasks.use_shared_storage:
            return None
        path = tasks.mounts[0].local_path
        return self._context.base_dir / path / ATTEMPTS_DIRECTORY if path else None

    def scripts(self, job: Job, number: int) -> Mapping[str, str]:
        """Return the job's request body and order, with placeholders for the endpoint's address and token."""
        lepton_job = self._lepton_job(job, number)
        token_secret = PLACEHOLDER_TOKEN_SECRET if lepton_job.model_server is not None else None
        environment = job_environment(lepton_job, 0, token_secret)
        node_group = self._settings.lepton_platform.tasks.node_group
        body = job_body(lepton_job, environment, invocation=PLACEHOLDER_INVOCATION, node_group=node_group)
        order = lepton_job.order(environment.secret_variables, PLACEHOLDER_INVOCATION)
        return {"lepton_job.json": _json(body), "lepton_order.json": _json(order)}

    def plan_scripts(self, plan: Plan) -> Mapping[str, str]:
        """Return the request body of each endpoint."""
        node_group = self._settings.lepton_platform.deployment.node_group
        bodies = {}
        for job in plan.jobs:
            if (model_server := self._lepton_job(job, 1).model_server) is None:
                continue
            name = endpoint_name(model_server, PLACEHOLDER_INVOCATION)
            environment = endpoint_environment(name, model_server, 0, PLACEHOLDER_INVOCATION)
            bodies[name] = endpoint_body(name, model_server, environment, node_group=node_group, token="***")  # noqa: S106
        files = [f"lepton_endpoint{f'_{index}' if index else ''}.json" for index in range(len(bodies))]
        return dict(zip(files, map(_json, bodies.values()), strict=True))

    def describe(self, attempt: Attempt) -> Mapping[str, str]:
        """Return the job's id, its page on the dashboard, and its endpoint.

        Raises:
            NotFoundError: the workspace does not list the job.
        """
        name = attempt_name(attempt.key, attempt.number)
        job = self._find_job(name)
        if job is None:
            msg = f"Lepton does not list {name}"
            raise NotFoundError(msg)
        page = f"{self.client.dashboard}/compute/jobs/detail/{job.id}/replicas/list"
        return {"job": job.id, "page": page, "endpoint": job.endpoint or "none"}

    def close(self) -> None:
        """Close the connections; jobs and endpoints are not affected."""
        if "client" in self.__dict__:
            self.client.close()


def _attempt(identity: tuple[Key, int], job: JobRecord | None) -> Attempt:
    key, number = identity
    return Attempt(key=key, number=number, backend_id=(job.id if job else "") or attempt_name(key, number))


def _json(body: Mapping[str, Any]) -> str:
    return json.dumps(body, indent=2) + "\n"
