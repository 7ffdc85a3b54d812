"""Commands that change the workspace: cancellation, the actions of an observation, and the removal of leftovers."""

from __future__ import annotations

import logging
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final, assert_never

from nel_action.errors import ExecutorError, NelActionError
from nel_action.executors.lepton.client import LeptonClient, MissingError
from nel_action.executors.lepton.endpoints import Endpoints
from nel_action.executors.lepton.environment import SecretStore
from nel_action.executors.lepton.jobs import JobRecord
from nel_action.executors.lepton.status import (
    LOST_SECONDS,
    Action,
    DeleteEndpoint,
    Observation,
    Observer,
    StopJob,
    WakeEndpoint,
)
from nel_action.model.job import Attempt, JobStatus, Key, attempt_name
from nel_action.retry import Backoff

__all__ = ["Maintainer"]

logger = logging.getLogger(__name__)

CANCEL_SECONDS: Final = 120.0
"""Seconds within which cancelled jobs must stop."""

CANCEL_BACKOFF: Final = Backoff(initial=0.3, factor=1.5, maximum=3.0)


@dataclass
class Maintainer:
    """Changes jobs, endpoints and secrets of a workspace."""

    client: LeptonClient
    secrets: SecretStore
    endpoints: Endpoints
    observer: Observer

    def stop(self, job: JobRecord) -> None:
        """Ask the platform to stop a job; does not wait.

        Raises:
            NelActionError: the request failed.
        """
        body = {"spec": {"stopped": True}}
        self.client.request("patch", f"/jobs/{job.id}", operation=f"stop {job.name}", json=body)

    def reconcile(self, attempts: Sequence[Attempt], observation: Observation) -> dict[Key, JobStatus]:
        """Perform the actions of an observation, and delete the secrets of finished attempts.

        Failures are logged or added to the statuses; the next observation finds the same actions due.

        Args:
            attempts: the attempts that were observed.
            observation: the observation; its notes are updated.

        Returns:
            The statuses after the actions.
        """
        for action in observation.actions:
            self._perform(action, observation)
        statuses = observation.statuses()
        final = [attempt for attempt in attempts if statuses[attempt.key].state.final]
        self.secrets.delete_of({attempt_name(attempt.key, attempt.number) for attempt in final})
        return statuses

    def _perform(self, action: Action, observation: Observation) -> None:
        match action:
            case StopJob():
                self._stop_failed(action)
            case WakeEndpoint(endpoint):
                name = endpoint.name
                try:
                    self.endpoints.wake(endpoint)
                    observation.endpoint_notes[name] = f"its endpoint {name} was scaled to zero and has been woken"
                except NelActionError as error:
                    observation.endpoint_notes[name] = f"its endpoint {name}: {error.problems[0].message}"
            case DeleteEndpoint(name):
                self._delete_endpoint(name, observation)
            case _:
                assert_never(action)

    def _stop_failed(self, action: StopJob) -> None:
        """Stop a job and remember why, so that its final status has the reason."""
        logger.info("stopping %s (%s): %s", action.job.name, action.job.id, action.detail)
        try:
            self.stop(action.job)
        except NelActionError as error:
            logger.warning("cannot stop %s: %s", action.job.name, error.problems[0].message)
            return
        if action.reason is not None:
            self.observer.stopped[action.job.name] = (action.reason, action.detail)

    def _delete_endpoint(self, name: str, observation: Observation) -> None:
        try:
            self.endpoints.delete(name)
        except NelActionError as error:
            message = error.problems[0].message
            if self.observer.duration(name, "not deleted") < LOST_SECONDS:
                observation.endpoint_notes[name] = f"its endpoint {name} still exists: {message}"
                return
            logger.warning("giving up the deletion of the endpoint %s: %s", name, message)
        observation.endpoint_notes.pop(name, None)

    def sweep(self, keys: Collection[Key]) -> None:
        """Delete abandoned endpoints, and expired secrets except those of `keys`, whichever process created them.

        Only the listing of jobs must succeed: what remains is found by the next call, and an idle endpoint scales to
        zero by itself.

        Raises:
            UnreachableError: the jobs could not be listed.
        """
        active = [job for job in self.observer.list_jobs() if job.active]
        for sweep in (self._sweep_endpoints, lambda active: self._sweep_secrets(active, keys)):
            try:
                sweep(active)
            except NelActionError as error:
                logger.warning("cannot delete everything that is no longer needed: %s", error.problems[0].message)

    def _sweep_endpoints(self, active: Sequence[JobRecord]) -> None:
        for name in self.endpoints.abandoned({job.endpoint for job in active if job.endpoint}):
            logger.info("the endpoint %s is abandoned", name)
            self.endpoints.delete(name)

    def _sweep_secrets(self, active: Sequence[JobRecord], keys: Collection[Key]) -> None:
        if not (expired := self.secrets.expired()):
            return
        owners = {job.name for job in active} | set(self.endpoints.statuses())
        retained = tuple(f"{key}-" for key in keys)
        unneeded = [name for name, parts in expired.items() if parts.owner not in owners]
        self.secrets.delete(name for name in unneeded if not expired[name].owner.startswith(retained))

    def cancel(self, names: Collection[str]) -> None:
        """Stop all jobs of these names, duplicates included, and delete the endpoints that only they needed.

        Raises:
            ExecutorError: jobs are still running, or an endpoint still exists; the message names them.
            UnreachableError: the platform did not respond.
        """
        jobs: list[JobRecord] = []

        def all_stopped() -> bool | None:
            nonlocal jobs
            jobs = self.observer.list_jobs()
            active = [job for job in jobs if job.name in names and job.active]
            for job in active:
                if not job.stopping:
                    self._stop_unless_missing(job)
            return not active or None

        if not self.client.wait_for(all_stopped, seconds=CANCEL_SECONDS, backoff=CANCEL_BACKOFF):
            running = sorted({job.name for job in jobs if job.name in names and job.active})
            msg = f"still running {CANCEL_SECONDS:g} s after the cancellation: {', '.join(running)}"
            raise ExecutorError(msg, hint="cancel again, or delete the jobs on the dashboard")
        needed = {job.endpoint for job in jobs if job.active}
        released = {job.endpoint for job in jobs if job.name in names and job.endpoint} - needed
        statuses = self.endpoints.statuses() if released else {}
        for name in sorted(name for name in released if name and name in statuses and statuses[name].disposable):
            self.endpoints.delete(name)
        self.secrets.delete_of(set(names))

    def _stop_unless_missing(self, job: JobRecord) -> None:
        logger.info("stopping %s (%s)", job.name, job.id)
        try:
            self.stop(job)
        except MissingError:
            return  # NOTE: the job was deleted in the meantime.

    def release(self, invocation: str) -> None:
        """Cancel all jobs that an invocation submitted, and delete the endpoints that it created.

        Raises:
            NelActionError: something remains, or the platform did not respond.
        """
        jobs = self.observer.list_jobs()
        if names := {job.name for job in jobs if job.active and job.invocation == invocation}:
            self.cancel(names)
            jobs = self.observer.list_jobs()
        needed = {job.endpoint for job in jobs if job.active}
        for name in self.endpoints.created_by(invocation) - needed:
            self.endpoints.delete(name)
