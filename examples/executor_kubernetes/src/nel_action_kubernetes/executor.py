"""The executor: one Job for each attempt, found again by its labels."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import yaml
from kubernetes import client
from kubernetes.client import V1Job, V1Pod
from kubernetes.client.exceptions import ApiException

from nel_action.errors import CollectError, ExecutorError, NelActionError, Problem, UnreachableError
from nel_action.executors.interface import ExecutorContext
from nel_action.model.job import Attempt, JobState, JobStatus, Key, attempt_name
from nel_action.planning.jobs import Job, Plan
from nel_action.spec.execution import ExecutionBase
from nel_action_kubernetes.checks import unsupported
from nel_action_kubernetes.cluster import CONFLICT, LIMIT, connect, speaking
from nel_action_kubernetes.logs import began, lines, whole
from nel_action_kubernetes.manifest import ATTEMPT, HARNESS, KEY, OURS, RESULTS, build_job, build_secret
from nel_action_kubernetes.results import unpack
from nel_action_kubernetes.settings import read_settings
from nel_action_kubernetes.states import ABSENT, finished, state_of

__all__ = ["KubernetesExecutor"]

SUSPEND: Final = {"spec": {"suspend": True}}

CANCEL_LIMIT: Final = 120.0
"""Seconds to wait until what was cancelled is gone; pods have 30 to end."""


class KubernetesExecutor:
    """Runs each attempt as a Job of a namespace."""

    poll_interval: Final = (2.0, 30.0)

    def __init__(self, settings: ExecutionBase, workspace: ExecutorContext) -> None:
        self._settings = read_settings(settings)
        self._namespace = self._settings.namespace
        self._workspace = workspace

    @cached_property
    def _api(self) -> client.ApiClient:
        return connect(self._settings, self._workspace.environ)

    @property
    def _jobs(self) -> client.BatchV1Api:
        return client.BatchV1Api(self._api)

    @property
    def _core(self) -> client.CoreV1Api:
        return client.CoreV1Api(self._api)

    def check(self, plan: Plan) -> Sequence[Problem]:
        """Say what is not done here, then let the cluster judge every Job as a dry run: rights, quotas, rules."""
        problems = [problem for job in plan.jobs for problem in unsupported(job, self._settings.image)]
        try:
            for job in () if problems else plan.jobs:
                body = build_job(job, 0, "check", self._settings)
                with speaking():
                    self._jobs.create_namespaced_job(self._namespace, body, dry_run="All", _request_timeout=LIMIT)
        except NelActionError as error:
            problems += error.problems
        return problems

    def resolve(self, images: Sequence[str]) -> Mapping[str, str]:
        """Return the digests that references hold already; only nodes ask registries."""
        return {image: image.partition("@")[2] for image in images if "@" in image}

    def find(self, keys: Sequence[Key]) -> Mapping[Key, Attempt]:
        """Return the newest attempt under each key."""
        found: dict[Key, Attempt] = {}
        wanted = set(keys)
        for job in self._all_jobs() if wanted else ():
            attempt = _attempt(job)
            if attempt.key in wanted and (attempt.key not in found or found[attempt.key].number < attempt.number):
                found[attempt.key] = attempt
        return found

    def submit(self, job: Job, number: int, invocation: str) -> Attempt:
        """Create the Job under the attempt's name: a name can be taken only once, whoever asks."""
        if problems := unsupported(job, self._settings.image):
            raise ExecutorError(problems[0].message, hint=problems[0].hint)
        name, namespace = attempt_name(job.key, number), self._namespace
        secret = build_secret(job, number, self._workspace.environ)
        with speaking():
            try:
                return _attempt(self._jobs.read_namespaced_job(name, namespace, _request_timeout=LIMIT))
            except ApiException as error:
                if error.status != 404:  # noqa: PLR2004 not found
                    raise
            # NOTE: the Secret first: a Job whose Secret is missing would wait for ever if we died in between.
            _unless_there(self._core.create_namespaced_secret, namespace, secret)
            _unless_there(
                self._jobs.create_namespaced_job, namespace, build_job(job, number, invocation, self._settings)
            )
            made = self._jobs.read_namespaced_job(name, namespace, _request_timeout=LIMIT)
            owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": made.metadata.uid}
            self._core.patch_namespaced_secret(
                name, namespace, {"metadata": {"ownerReferences": [owner]}}, _request_timeout=LIMIT
            )
            return _attempt(made)

    def poll(self, attempts: Sequence[Attempt]) -> Mapping[Key, JobStatus]:
        """Look at all of them: one listing of Jobs, one of pods."""
        if not attempts:
            return {}
        try:
            jobs = {job.metadata.uid: job for job in self._all_jobs()}
            pods = self._pods()
        except UnreachableError as error:
            lost = JobStatus(state=JobState.UNKNOWN, detail=error.problems[0].message.replace("\n", " "))
            return {attempt.key: lost for attempt in attempts}
        return {
            attempt.key: state_of(jobs[attempt.backend_id], pods.get(attempt.backend_id))
            if attempt.backend_id in jobs
            else ABSENT
            for attempt in attempts
        }

    def _all_jobs(self) -> Sequence[V1Job]:
        with speaking():
            listing = self._jobs.list_namespaced_job(self._namespace, label_selector=OURS, _request_timeout=LIMIT)
        return listing.items or ()

    def _pods(self, selector: str = OURS) -> dict[str, V1Pod]:
        """Return pods by the uid of the Job that owns each."""
        with speaking():
            listing = self._core.list_namespaced_pod(self._namespace, label_selector=selector, _request_timeout=LIMIT)
        return {owner.uid: pod for pod in listing.items or () for owner in pod.metadata.owner_references or ()}

    def _pod(self, attempt: Attempt) -> V1Pod | None:
        return self._pods(f"{OURS},{KEY}={attempt.key}").get(attempt.backend_id)

    def logs(self, attempt: Attempt, *, follow: bool) -> Iterator[str]:
        """Stream what the harness says; with `follow`, wait for it to begin."""
        while not began(pod := self._pod(attempt), HARNESS):
            if not follow or self.poll([attempt])[attempt.key].state.final:
                return
            time.sleep(self.poll_interval[0])
        if pod is not None:
            yield from lines(self._core, pod, HARNESS, follow=follow)

    def cancel(self, attempts: Sequence[Attempt]) -> None:
        """Suspend the Jobs, which ends their pods and keeps the record; wait until no pod is left."""
        unfinished = {job.metadata.uid for job in self._all_jobs() if not finished(job)} if attempts else set()
        left = [attempt for attempt in attempts if attempt.backend_id in unfinished]
        for attempt in left:
            name = attempt_name(attempt.key, attempt.number)
            with speaking():
                self._jobs.patch_namespaced_job(name, self._namespace, SUSPEND, _request_timeout=LIMIT)
        deadline = time.monotonic() + CANCEL_LIMIT
        while left:
            pods = self._pods()
            left = [attempt for attempt in left if attempt.backend_id in pods]
            if left and time.monotonic() > deadline:
                names = ", ".join(attempt_name(attempt.key, attempt.number) for attempt in left)
                msg = f"still running after {CANCEL_LIMIT:g} s: {names}"
                raise ExecutorError(msg)
            time.sleep(0.2 if left else 0)

    def collect(self, attempt: Attempt, into: Path) -> None:
        """Read both containers' logs, and unpack what the second one sent."""
        pod = self._pod(attempt)
        if pod is None:
            msg = f"the pod of {attempt_name(attempt.key, attempt.number)} is gone, and what it left with it"
            raise CollectError(msg)
        log = whole(self._core, pod, HARNESS)
        unpack(whole(self._core, pod, RESULTS), log, into)

    def scripts(self, job: Job, number: int) -> Mapping[str, str]:
        """Return the Job as `kubectl` takes it; its Secret is not shown."""
        return {"job.yaml": yaml.safe_dump(build_job(job, number, "by-hand", self._settings), sort_keys=False)}

    def plan_scripts(self, plan: Plan) -> Mapping[str, str]:  # noqa: ARG002 each job has a manifest of its own
        """Return nothing."""
        return {}

    def close(self) -> None:
        """Let go of connections."""
        if "_api" in self.__dict__:
            self._api.close()


def _attempt(job: V1Job) -> Attempt:
    labels = job.metadata.labels
    moment = job.metadata.creation_timestamp
    return Attempt(
        key=Key(labels[KEY]),
        number=int(labels[ATTEMPT]),
        backend_id=job.metadata.uid,
        submitted=moment.isoformat() if moment else None,
    )


def _unless_there(create: Callable[..., object], namespace: str, body: Mapping[str, Any]) -> None:
    try:
        create(namespace, body, _request_timeout=LIMIT)
    except ApiException as error:
        if error.status != CONFLICT:
            raise
