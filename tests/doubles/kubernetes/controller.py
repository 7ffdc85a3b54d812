"""The Job controller: creates pods, observes them, enforces deadlines and deletes pods with their Jobs."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from tests.doubles.kubernetes.pod import RunningPod
from tests.doubles.kubernetes.store import Store, timestamp

__all__ = ["Controller"]


class Controller:
    """Runs in its own thread."""

    def __init__(self, store: Store, directory: Path, lock: threading.RLock) -> None:
        self._store, self._directory, self._lock = store, directory, lock
        self.pods: dict[str, RunningPod] = {}
        self.started: list[str] = []
        """The Job of every pod that was created, in order."""
        self.closing = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._start_times: dict[str, float] = {}

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """Kill every process."""
        self.closing.set()
        self._thread.join()
        for pod in self.pods.values():
            pod.kill()

    def _run(self) -> None:
        while not self.closing.wait(0.03):
            with self._lock:
                for job in list(self._store.objects["jobs"].values()):
                    self._update(job)

    def _update(self, job: dict[str, Any]) -> None:
        name = job["metadata"]["name"]
        if any(condition["type"] in {"Complete", "Failed"} for condition in job["status"].get("conditions") or []):
            return
        pod = self.pods.get(name)
        if job["spec"].get("suspend"):
            self.remove(name)
            job["status"] |= {"active": 0, "conditions": [_condition("Suspended", "JobSuspended", "Job suspended")]}
        elif pod is None:
            self._create_pod(job)
        else:
            pod.advance()
            self._update_status(job, pod)

    def _create_pod(self, job: dict[str, Any]) -> None:
        name, template = job["metadata"]["name"], job["spec"]["template"]
        owner = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "name": name,
            "uid": job["metadata"]["uid"],
            "controller": True,
        }
        labels = (template["metadata"].get("labels") or {}) | {"batch.kubernetes.io/job-name": name}
        metadata = {"name": f"{name}-x7k2p", "labels": labels, "ownerReferences": [owner]}
        pod = self._store.create("pods", {"metadata": metadata, "spec": template["spec"]})
        self.pods[name] = RunningPod(pod, self._directory / name, self._store)
        self.started.append(name)
        self._start_times[name] = time.monotonic()
        job["status"] |= {"active": 1, "startTime": timestamp()}

    def _update_status(self, job: dict[str, Any], pod: RunningPod) -> None:
        name, limit = job["metadata"]["name"], job["spec"].get("activeDeadlineSeconds")
        if pod.phase == "Succeeded":
            job["status"] |= {"active": 0, "succeeded": 1, "completionTime": timestamp()}
            job["status"]["conditions"] = [_condition("Complete", "CompletionsReached", "Reached expected number")]
        elif pod.phase == "Failed":
            self._fail(job, "BackoffLimitExceeded", "Job has reached the specified backoff limit")
        elif limit and time.monotonic() - self._start_times[name] > limit:
            self.remove(name)
            self._fail(job, "DeadlineExceeded", "Job was active longer than specified deadline")

    def _fail(self, job: dict[str, Any], reason: str, message: str) -> None:
        job["status"] |= {"active": 0, "failed": 1, "conditions": [_condition("Failed", reason, message)]}

    def remove(self, name: str) -> None:
        """Delete a Job's pod."""
        if pod := self.pods.pop(name, None):
            pod.kill()
            self._store.objects["pods"].pop(pod.pod["metadata"]["name"], None)

    def preempt(self, name: str) -> None:
        """Preempt a Job's pod in favor of one with a higher priority."""
        with self._lock:
            pod = self.pods[name]
            pod.kill()
            condition = _condition("DisruptionTarget", "PreemptionByScheduler", "preempting to accommodate another pod")
            pod.pod["status"] |= {"phase": "Failed", "reason": "Preempted", "conditions": [condition]}


def _condition(kind: str, reason: str, message: str) -> dict[str, str]:
    return {"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": timestamp()}
