"""What makes Jobs happen: pods made, watched, ended at their deadline, taken away with their Job."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from tests.doubles.kubernetes.pod import RunningPod
from tests.doubles.kubernetes.store import Store, moment

__all__ = ["Controller"]


class Controller:
    """Works in a thread of its own, whether anybody looks or not."""

    def __init__(self, store: Store, folder: Path, lock: threading.RLock) -> None:
        self._store, self._folder, self._lock = store, folder, lock
        self.pods: dict[str, RunningPod] = {}
        self.started: list[str] = []
        """The Job of every pod that was made, in order."""
        self.closing = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._began: dict[str, float] = {}

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        """End every process."""
        self.closing.set()
        self._thread.join()
        for pod in self.pods.values():
            pod.kill()

    def _work(self) -> None:
        while not self.closing.wait(0.03):
            with self._lock:
                for job in list(self._store.things["jobs"].values()):
                    self._tend(job)

    def _tend(self, job: dict[str, Any]) -> None:
        name = job["metadata"]["name"]
        if any(each["type"] in {"Complete", "Failed"} for each in job["status"].get("conditions") or []):
            return
        pod = self.pods.get(name)
        if job["spec"].get("suspend"):
            self.remove(name)
            job["status"] |= {"active": 0, "conditions": [_condition("Suspended", "JobSuspended", "Job suspended")]}
        elif pod is None:
            self._make(job)
        else:
            pod.step()
            self._judge(job, pod)

    def _make(self, job: dict[str, Any]) -> None:
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
        self.pods[name] = RunningPod(pod, self._folder / name, self._store)
        self.started.append(name)
        self._began[name] = time.monotonic()
        job["status"] |= {"active": 1, "startTime": moment()}

    def _judge(self, job: dict[str, Any], pod: RunningPod) -> None:
        name, limit = job["metadata"]["name"], job["spec"].get("activeDeadlineSeconds")
        if pod.phase == "Succeeded":
            job["status"] |= {"active": 0, "succeeded": 1, "completionTime": moment()}
            job["status"]["conditions"] = [_condition("Complete", "CompletionsReached", "Reached expected number")]
        elif pod.phase == "Failed":
            self._fail(job, "BackoffLimitExceeded", "Job has reached the specified backoff limit")
        elif limit and time.monotonic() - self._began[name] > limit:
            self.remove(name)
            self._fail(job, "DeadlineExceeded", "Job was active longer than specified deadline")

    def _fail(self, job: dict[str, Any], reason: str, message: str) -> None:
        job["status"] |= {"active": 0, "failed": 1, "conditions": [_condition("Failed", reason, message)]}

    def remove(self, name: str) -> None:
        """Take a Job's pod away."""
        if pod := self.pods.pop(name, None):
            pod.kill()
            self._store.things["pods"].pop(pod.pod["metadata"]["name"], None)

    def preempt(self, name: str) -> None:
        """Somebody more important needs the machine."""
        with self._lock:
            pod = self.pods[name]
            pod.kill()
            words = _condition("DisruptionTarget", "PreemptionByScheduler", "preempting to accommodate another pod")
            pod.pod["status"] |= {"phase": "Failed", "reason": "Preempted", "conditions": [words]}


def _condition(kind: str, reason: str, message: str) -> dict[str, str]:
    return {"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": moment()}
