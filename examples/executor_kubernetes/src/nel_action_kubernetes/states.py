"""What a Job and its pod say, as a state of ours."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from kubernetes.client import V1ContainerStatus, V1Job, V1JobCondition, V1Pod

from nel_action.model.job import JobState, JobStatus, Reason
from nel_action_kubernetes.manifest import HARNESS, RESULTS

__all__ = ["ABSENT", "condition", "finished", "state_of"]

ABSENT: Final = JobStatus(state=JobState.UNKNOWN, detail="the cluster has no such Job")

KILLED: Final = 137


def condition(thing: V1Job | V1Pod, kind: str) -> Any:  # noqa: ANN401 a condition of either
    """Return a true condition of a Job or pod, or None."""
    found = (thing.status and thing.status.conditions) or []
    return next((each for each in found if each.type == kind and each.status == "True"), None)


def finished(job: V1Job) -> bool:
    """Whether a Job can still change."""
    return bool(condition(job, "Complete") or condition(job, "Failed"))


def state_of(job: V1Job, pod: V1Pod | None) -> JobStatus:
    """Return the status of an attempt; `pod` is its only pod, where there is one."""
    started = _moment(job.status and job.status.start_time)
    if condition(job, "Complete"):
        ended = _moment(job.status.completion_time)
        return JobStatus(state=JobState.SUCCEEDED, exit_code=0, started=started, ended=ended)
    if failed := condition(job, "Failed"):
        return _failure(failed, pod, started)
    if job.spec.suspend:
        return JobStatus(state=JobState.CANCELLED if pod is None else JobState.RUNNING, started=started)
    if pod is None or pod.status is None:
        return JobStatus(state=JobState.PENDING, detail="waiting for a pod")
    if _of(pod.status.init_container_statuses, HARNESS, "running") or pod.status.phase == "Running":
        return JobStatus(state=JobState.RUNNING, started=started)
    return JobStatus(state=JobState.PENDING, detail=_waiting(pod))


def _failure(failed: V1JobCondition, pod: V1Pod | None, started: str | None) -> JobStatus:
    code = _of(pod.status.container_statuses, RESULTS, "terminated") if pod and pod.status else None
    exit_code = code.exit_code if code else None
    detail = " ".join(str(failed.message or failed.reason).split())
    return JobStatus(
        state=JobState.FAILED,
        reason=_reason(failed, pod, exit_code),
        detail=f"exit status {exit_code}" if exit_code else detail,
        exit_code=exit_code,
        started=started,
        ended=_moment(failed.last_transition_time),
    )


def _reason(failed: V1JobCondition, pod: V1Pod | None, exit_code: int | None) -> Reason:
    if failed.reason == "DeadlineExceeded":
        return Reason.TIME_LIMIT
    if pod is None or pod.status is None:
        return Reason.INFRASTRUCTURE
    if disrupted := condition(pod, "DisruptionTarget"):
        return Reason.PREEMPTED if disrupted.reason == "PreemptionByScheduler" else Reason.NODE_LOST
    ended = _of(pod.status.init_container_statuses, HARNESS, "terminated")
    if exit_code == KILLED or (ended and ended.reason == "OOMKilled"):
        return Reason.OUT_OF_MEMORY
    return Reason.HARNESS if exit_code else Reason.INFRASTRUCTURE


def _waiting(pod: V1Pod) -> str:
    waiting = _of(pod.status.init_container_statuses, HARNESS, "waiting")
    if waiting:
        return " ".join(f"{waiting.reason}: {waiting.message or ''}".split()).removesuffix(":")
    place = next((each for each in pod.status.conditions or [] if each.type == "PodScheduled"), None)
    return place.message if place and place.message else "waiting for a machine"


def _of(statuses: Sequence[V1ContainerStatus] | None, name: str, state: str) -> Any:  # noqa: ANN401 one of three
    """Return what a container's status says of one of its states: `waiting`, `running`, `terminated`."""
    found = next((each for each in statuses or [] if each.name == name), None)
    return getattr(found.state, state) if found and found.state else None


def _moment(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
