"""The status of an attempt from its Job and pod."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final

from kubernetes.client import V1ContainerStatus, V1Job, V1JobCondition, V1Pod

from nel_action.model.job import JobState, JobStatus, Reason
from nel_action_kubernetes.manifest import HARNESS, RESULTS

__all__ = ["MISSING", "finished", "job_status"]

MISSING: Final = JobStatus(state=JobState.UNKNOWN, detail="the cluster has no such Job")

SIGKILL_STATUS: Final = 137


def job_status(job: V1Job, pod: V1Pod | None) -> JobStatus:
    """Return the status of an attempt; `pod` is the Job's only pod, if it exists."""
    started = _rfc3339(job.status and job.status.start_time)
    if _condition(job, "Complete"):
        ended = _rfc3339(job.status.completion_time)
        return JobStatus(state=JobState.SUCCEEDED, exit_code=0, started=started, ended=ended)
    if failed := _condition(job, "Failed"):
        return _failure(failed, pod, started)
    if job.spec.suspend:
        return JobStatus(state=JobState.CANCELLED if pod is None else JobState.RUNNING, started=started)
    if pod is None or pod.status is None:
        return JobStatus(state=JobState.PENDING, detail="waiting for a pod")
    if _state(pod.status.init_container_statuses, HARNESS, "running") or pod.status.phase == "Running":
        return JobStatus(state=JobState.RUNNING, started=started)
    return JobStatus(state=JobState.PENDING, detail=_pending_reason(pod))


def finished(job: V1Job) -> bool:
    """Whether a Job has completed or failed."""
    return bool(_condition(job, "Complete") or _condition(job, "Failed"))


def _condition(resource: V1Job | V1Pod, kind: str) -> Any:  # noqa: ANN401 - a condition of either
    """Return a true condition of a Job or pod, or None."""
    conditions = (resource.status and resource.status.conditions) or []
    return next((condition for condition in conditions if condition.type == kind and condition.status == "True"), None)


def _failure(failed: V1JobCondition, pod: V1Pod | None, started: str | None) -> JobStatus:
    terminated = _state(pod.status.container_statuses, RESULTS, "terminated") if pod and pod.status else None
    exit_code = terminated.exit_code if terminated else None
    detail = " ".join(str(failed.message or failed.reason).split())
    return JobStatus(
        state=JobState.FAILED,
        reason=_failure_reason(failed, pod, exit_code),
        detail=f"exit status {exit_code}" if exit_code else detail,
        exit_code=exit_code,
        started=started,
        ended=_rfc3339(failed.last_transition_time),
    )


def _failure_reason(failed: V1JobCondition, pod: V1Pod | None, exit_code: int | None) -> Reason:
    if failed.reason == "DeadlineExceeded":
        return Reason.TIME_LIMIT
    if pod is None or pod.status is None:
        return Reason.INFRASTRUCTURE
    if disruption := _condition(pod, "DisruptionTarget"):
        return Reason.PREEMPTED if disruption.reason == "PreemptionByScheduler" else Reason.NODE_LOST
    terminated = _state(pod.status.init_container_statuses, HARNESS, "terminated")
    if exit_code == SIGKILL_STATUS or (terminated and terminated.reason == "OOMKilled"):
        return Reason.OUT_OF_MEMORY
    return Reason.HARNESS if exit_code else Reason.INFRASTRUCTURE


def _pending_reason(pod: V1Pod) -> str:
    waiting = _state(pod.status.init_container_statuses, HARNESS, "waiting")
    if waiting:
        return " ".join(f"{waiting.reason}: {waiting.message or ''}".split()).removesuffix(":")
    scheduled = next((each for each in pod.status.conditions or [] if each.type == "PodScheduled"), None)
    return scheduled.message if scheduled and scheduled.message else "waiting for a machine"


def _state(statuses: Sequence[V1ContainerStatus] | None, name: str, state: str) -> Any:  # noqa: ANN401 - one of three
    """Return a container's `waiting`, `running` or `terminated` state, or None where it is in another state."""
    status = next((status for status in statuses or [] if status.name == name), None)
    return getattr(status.state, state) if status and status.state else None


def _rfc3339(moment: datetime | None) -> str | None:
    return moment.isoformat() if moment else None
