"""An in-memory executor whose jobs persist as long as the object, and whose calls can be made to fail."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from nel_action.errors import CollectError, ExecutorError, Problem, UnreachableError
from nel_action.model.job import Attempt, JobState, JobStatus, Key, newest
from nel_action.planning.jobs import Job, Plan


class Killed(BaseException):
    """Simulates SIGKILL; derived from BaseException so that no handler catches it."""


@dataclass
class MemoryExecutor:
    """Records jobs without running them."""

    poll_interval: tuple[float, float] = (0.0, 0.01)
    jobs: dict[tuple[Key, int], JobStatus] = field(default_factory=dict)
    started: list[tuple[Key, int]] = field(default_factory=list)
    """Every attempt that was started, in order."""
    artifacts: dict[Key, Mapping[str, str]] = field(default_factory=dict)
    """File name → text, by job."""
    rejected: set[Key] = field(default_factory=set)
    """Jobs whose submission is rejected."""
    unreachable: bool = False
    """Whether the backend does not answer."""
    kill_before_submit: int | None = None
    """Raise `Killed` after that many submissions, before the next one reaches the backend."""
    kill_after_submit: int | None = None
    """Raise `Killed` in the submission with that number, after it reached the backend."""
    calls: list[str] = field(default_factory=list)
    """Names of the methods that were called, in order."""

    def _call(self, name: str) -> None:
        self.calls.append(name)
        if self.unreachable:
            msg = "the backend did not answer"
            raise UnreachableError(msg)

    def check(self, plan: Plan) -> Sequence[Problem]:
        self._call("check")
        return [] if plan.jobs else [Problem("no jobs")]

    def resolve(self, images: Sequence[str]) -> Mapping[str, str]:
        return dict.fromkeys(images, "sha256:" + "0" * 64)

    def find(self, keys: Sequence[Key]) -> Mapping[Key, Attempt]:
        self._call("find")
        return newest(self._attempt(key, number) for key, number in self.jobs if key in keys)

    def _attempt(self, key: Key, number: int) -> Attempt:
        return Attempt(key=key, number=number, backend_id=f"memory-{key}-{number}")

    def submit(self, job: Job, number: int, invocation: str) -> Attempt:
        assert invocation
        self._call("submit")
        if self.kill_before_submit == len(self.started):
            raise Killed
        if job.key in self.rejected:
            msg = "the backend rejected the job"
            raise ExecutorError(msg)
        if (job.key, number) not in self.jobs:
            self.jobs[job.key, number] = JobStatus(state=JobState.RUNNING)
            self.started.append((job.key, number))
        if self.kill_after_submit == len(self.started):
            raise Killed
        return self._attempt(job.key, number)

    def poll(self, attempts: Sequence[Attempt]) -> Mapping[Key, JobStatus]:
        self.calls.append("poll")
        unknown = JobStatus(state=JobState.UNKNOWN, detail="not observed")
        if self.unreachable:
            return {attempt.key: unknown for attempt in attempts}
        return {attempt.key: self.jobs.get((attempt.key, attempt.number), unknown) for attempt in attempts}

    def finish(self, key: Key, state: JobState = JobState.SUCCEEDED, **fields: object) -> None:
        """Finish the latest attempt of a job.

        Args:
            key: the job.
            state: its final state.
            fields: further fields of its status.
        """
        number = max(n for k, n in self.jobs if k == key)
        status = replace(self.jobs[key, number], state=state, started="2026-01-01T00:00:00Z")
        self.jobs[key, number] = replace(status, ended="2026-01-01T00:00:05Z", **fields)  # type: ignore[arg-type]

    def logs(self, attempt: Attempt, *, follow: bool) -> Iterator[str]:
        yield f"{attempt.backend_id} follow={follow}"

    def cancel(self, attempts: Sequence[Attempt]) -> None:
        self._call("cancel")
        for attempt in attempts:
            self.jobs[attempt.key, attempt.number] = JobStatus(state=JobState.CANCELLED)

    def collect(self, attempt: Attempt, into: Path) -> None:
        self._call("collect")
        files = self.artifacts.get(attempt.key)
        if files is None:
            msg = "the artifacts are incomplete"
            raise CollectError(msg)
        (into / "artifacts").mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (into / "artifacts" / name).write_text(text)

    def scripts(self, job: Job, number: int) -> Mapping[str, str]:
        return {"run.sh": f"#!/bin/sh\n# {job.name} {number}\n"}

    def plan_scripts(self, plan: Plan) -> Mapping[str, str]:
        return {"run_all.sh": f"#!/bin/sh\n# {len(plan.jobs)} jobs\n"}

    def close_record(self, attempt: Attempt) -> None:
        self._call("close_record")
        assert attempt.number

    def record_lines(self, attempt: Attempt, *, failed: bool) -> Iterator[str]:
        self._call("record_lines")
        yield f'{{"attempt": {attempt.number}, "failed": {str(failed).lower()}}}'

    def close(self) -> None:
        self.calls.append("close")
