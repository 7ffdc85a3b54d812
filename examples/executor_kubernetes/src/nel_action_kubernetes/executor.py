"""The executor: one Job per attempt, found by its labels."""

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
from nel_action.model.job import Attempt, JobState, JobStatus, Key, attempt_name, newest
from nel_action.planning.jobs import Job, Plan
from nel_action.retry import Backoff, poll_until
from nel_action.spec.execution import ExecutionBase
from nel_action_kubernetes.cluster import CONFLICT, NOT_FOUND, REQUEST_TIMEOUT, connect, translated_errors
from nel_action_kubernetes.logs import has_started, read_log, stream_log, unpack_results
from nel_action_kubernetes.manifest import (
    HARNESS,
    KEY_LABEL,
    NUMBER_LABEL,
    RESULTS,
    SELECTOR,
    build_job,
    build_secret,
)
from nel_action_kubernetes.settings import parse_settings, unsupported_features
from nel_action_kubernetes.status import MISSING, finished, job_status

__all__ = ["KubernetesExecutor"]

SUSPEND_PATCH: Final = {"spec": {"suspend": True}}

CANCEL_SECONDS: Final = 120.0
"""Seconds within which the pods of cancelled Jobs must be gone; a pod has 30 to terminate."""

CANCEL_BACKOFF: Final = Backoff(initial=0.2, factor=1.5, maximum=2.0)

START_BACKOFF: Final = Backoff(initial=2.0, factor=1.0, maximum=2.0)
"""Pauses until the harness has a log."""


class KubernetesExecutor:
    """Runs each attempt as a Job of a namespace."""

    poll_interval: Final = (2.0, 30.0)

    def __init__(self, settings: ExecutionBase, context: ExecutorContext) -> None:
        self._settings = parse_settings(settings)
        self._namespace = self._settings.namespace
        self._context = context

    @cached_property
    def _api(self) -> client.ApiClient:
        return connect(self._settings, self._context.environ)

    @property
    def _jobs(self) -> client.BatchV1Api:
        return client.BatchV1Api(self._api)

    @property
    def _core(self) -> client.CoreV1Api:
        return client.CoreV1Api(self._api)

    def check(self, plan: Plan) -> Sequence[Problem]:
        """Report unsupported features, then create every Job as a dry run: permissions, quotas and admission rules."""
        problems = [problem for job in plan.jobs for problem in unsupported_features(job, self._settings.image)]
        try:
            for job in () if problems else plan.jobs:
                body = build_job(job, 0, "check", self._settings)
                with translated_errors():
                    self._jobs.create_namespaced_job(
                        self._namespace, body, dry_run="All", _request_timeout=REQUEST_TIMEOUT
                    )
        except NelActionError as error:
            problems += error.problems
        return problems

    def resolve(self, images: Sequence[str]) -> Mapping[str, str]:
        """Return the digests that the references contain; only nodes query registries."""
        return {image: image.partition("@")[2] for image in images if "@" in image}

    def find(self, keys: Sequence[Key]) -> Mapping[Key, Attempt]:
        """Return the newest attempt of each key."""
        requested = set(keys)
        attempts = map(_attempt, self._list_jobs() if requested else ())
        return newest(attempt for attempt in attempts if attempt.key in requested)

    def submit(self, job: Job, number: int, invocation: str) -> Attempt:
        """Create the Job under the attempt's name, which the cluster assigns only once."""
        if problems := unsupported_features(job, self._settings.image):
            raise ExecutorError(problems[0].message, hint=problems[0].hint)
        name, namespace = attempt_name(job.key, number), self._namespace
        secret = build_secret(job, number, self._context.environ)
        with translated_errors():
            try:
                return _attempt(self._jobs.read_namespaced_job(name, namespace, _request_timeout=REQUEST_TIMEOUT))
            except ApiException as error:
                if error.status != NOT_FOUND:
                    raise
            # NOTE: the Secret first: if this process died in between, a Job without its Secret would never start.
            _create_unless_exists(self._core.create_namespaced_secret, namespace, secret)
            body = build_job(job, number, invocation, self._settings)
            _create_unless_exists(self._jobs.create_namespaced_job, namespace, body)
            created = self._jobs.read_namespaced_job(name, namespace, _request_timeout=REQUEST_TIMEOUT)
            owner = {"apiVersion": "batch/v1", "kind": "Job", "name": name, "uid": created.metadata.uid}
            self._core.patch_namespaced_secret(
                name, namespace, {"metadata": {"ownerReferences": [owner]}}, _request_timeout=REQUEST_TIMEOUT
            )
            return _attempt(created)

    def poll(self, attempts: Sequence[Attempt]) -> Mapping[Key, JobStatus]:
        """Return the statuses with one listing of Jobs and one of pods."""
        if not attempts:
            return {}
        try:
            jobs = {job.metadata.uid: job for job in self._list_jobs()}
            pods = self._list_pods()
        except UnreachableError as error:
            unknown = JobStatus(state=JobState.UNKNOWN, detail=error.problems[0].message.replace("\n", " "))
            return {attempt.key: unknown for attempt in attempts}
        return {
            attempt.key: job_status(jobs[attempt.backend_id], pods.get(attempt.backend_id))
            if attempt.backend_id in jobs
            else MISSING
            for attempt in attempts
        }

    def _list_jobs(self) -> Sequence[V1Job]:
        with translated_errors():
            listing = self._jobs.list_namespaced_job(
                self._namespace, label_selector=SELECTOR, _request_timeout=REQUEST_TIMEOUT
            )
        return listing.items or ()

    def _list_pods(self, selector: str = SELECTOR) -> dict[str, V1Pod]:
        """Return pods by the uid of the Job that owns each."""
        with translated_errors():
            listing = self._core.list_namespaced_pod(
                self._namespace, label_selector=selector, _request_timeout=REQUEST_TIMEOUT
            )
        return {owner.uid: pod for pod in listing.items or () for owner in pod.metadata.owner_references or ()}

    def _find_pod(self, attempt: Attempt) -> V1Pod | None:
        return self._list_pods(f"{SELECTOR},{KEY_LABEL}={attempt.key}").get(attempt.backend_id)

    def logs(self, attempt: Attempt, *, follow: bool) -> Iterator[str]:
        """Yield the lines of the harness's log; with `follow`, wait for the harness to start."""
        for pause in START_BACKOFF.delays():
            pod = self._find_pod(attempt)
            if has_started(pod, HARNESS):
                break
            if not follow or self.poll([attempt])[attempt.key].state.final:
                return
            time.sleep(pause)
        if pod is not None:
            yield from stream_log(self._core, pod, HARNESS, follow=follow)

    def cancel(self, attempts: Sequence[Attempt]) -> None:
        """Suspend the Jobs, which stops their pods and keeps the record; wait until the pods are gone."""
        unfinished = {job.metadata.uid for job in self._list_jobs() if not finished(job)} if attempts else set()
        suspended = [attempt for attempt in attempts if attempt.backend_id in unfinished]
        for attempt in suspended:
            name = attempt_name(attempt.key, attempt.number)
            with translated_errors():
                self._jobs.patch_namespaced_job(name, self._namespace, SUSPEND_PATCH, _request_timeout=REQUEST_TIMEOUT)
        running = suspended

        def all_stopped() -> bool | None:
            nonlocal running
            pods = self._list_pods() if running else {}
            running = [attempt for attempt in running if attempt.backend_id in pods]
            return not running or None

        if not poll_until(all_stopped, deadline=time.monotonic() + CANCEL_SECONDS, backoff=CANCEL_BACKOFF):
            names = ", ".join(attempt_name(attempt.key, attempt.number) for attempt in running)
            msg = f"still running {CANCEL_SECONDS:g} s after the cancellation: {names}"
            raise ExecutorError(msg)

    def collect(self, attempt: Attempt, into: Path) -> None:
        """Read both containers' logs, and unpack the results in the second one."""
        pod = self._find_pod(attempt)
        if pod is None:
            name = attempt_name(attempt.key, attempt.number)
            msg = f"cannot collect the results of {name}: its pod no longer exists"
            raise CollectError(msg)
        log = read_log(self._core, pod, HARNESS)
        unpack_results(read_log(self._core, pod, RESULTS), log, into)

    def scripts(self, job: Job, number: int) -> Mapping[str, str]:
        """Return the Job as `kubectl` accepts it, without its Secret."""
        return {"job.yaml": yaml.safe_dump(build_job(job, number, "by-hand", self._settings), sort_keys=False)}

    def plan_scripts(self, plan: Plan) -> Mapping[str, str]:  # noqa: ARG002 - each job has its own manifest
        """Return nothing."""
        return {}

    def close(self) -> None:
        """Close the connections."""
        if "_api" in self.__dict__:
            self._api.close()


def _attempt(job: V1Job) -> Attempt:
    labels = job.metadata.labels
    created = job.metadata.creation_timestamp
    return Attempt(
        key=Key(labels[KEY_LABEL]),
        number=int(labels[NUMBER_LABEL]),
        backend_id=job.metadata.uid,
        submitted=created.isoformat() if created else None,
    )


def _create_unless_exists(create: Callable[..., object], namespace: str, body: Mapping[str, Any]) -> None:
    try:
        create(namespace, body, _request_timeout=REQUEST_TIMEOUT)
    except ApiException as error:
        if error.status != CONFLICT:
            raise
