"""Tests of the end of an attempt: cancellation, collection of results, and closing the executor."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from nel_action.errors import NelActionError
from nel_action.model.job import Attempt, JobState
from nel_action.model.run_files import JobFiles
from nel_action.testing.expect import expect, expect_error
from nel_action.testing.harness import INVOCATION, ExecutorBench, count_starts

__all__ = ["CancellationTests"]

MANY_FILES_SCRIPT: Final = """
cd "$NEL_OUTPUT_DIR"
mkdir -p "deep/er folder"
printf 'a\\000b\\377' > "deep/er folder/bytes.bin"
printf 'ü' > 'deep/näme'
: > empty
i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo "$i" > "deep/sample-$i"; done
echo all written
"""


def _read_files(directory: Path) -> dict[str, bytes]:
    """Return the bytes of all files below a directory, by relative path."""
    files = (path for path in directory.rglob("*") if path.is_file())
    return {str(path.relative_to(directory)): path.read_bytes() for path in files}


class CancellationTests:
    """Tests of `cancel`, `collect` and `close`."""

    def test_cancel_returns_after_the_processes_have_stopped(self, bench: ExecutorBench) -> None:
        """The job is then reported as cancelled; cancelling it again is safe."""
        job, lock = bench.blocking_job()
        executor = bench.open()
        attempt = executor.submit(job, 1, INVOCATION)
        bench.wait_until_locked(lock)
        bench.open().cancel([attempt])
        bench.wait_until_unlocked(lock)
        (status,) = bench.wait_until_final(executor, attempt)
        expect(status.state is JobState.CANCELLED, f"a cancelled job is {status}")
        bench.open().cancel([attempt])

    def test_cancel_does_not_change_a_finished_job(self, bench: ExecutorBench) -> None:
        """Cancelling nothing is not an error either."""
        executor = bench.open()
        attempt = executor.submit(bench.job("true"), 1, INVOCATION)
        bench.wait_until_final(executor, attempt)
        executor.cancel([])
        executor.cancel([attempt])
        status = executor.poll([attempt])[attempt.key]
        expect(status.state is JobState.SUCCEEDED, f"after cancel() a finished job is {status}")

    def test_collect_returns_all_files_unchanged(self, bench: ExecutorBench) -> None:
        """Names and bytes are preserved; collecting again returns the same files."""
        executor = bench.open()
        attempt = executor.submit(bench.job(MANY_FILES_SCRIPT), 1, INVOCATION)
        (status,) = bench.wait_until_final(executor, attempt)
        expect(status.state is JobState.SUCCEEDED, f"the job is {status}")
        expected = {f"deep/sample-{number}": f"{number}\n".encode() for number in range(1, 301)}
        expected |= {"deep/er folder/bytes.bin": b"a\0b\xff", "deep/näme": "ü".encode(), "empty": b""}
        files = JobFiles(bench.home / "collected")
        for _ in range(2):
            bench.open().collect(attempt, files.root)
            artifacts = _read_files(files.artifacts)
            expect(artifacts == expected, f"artifacts differ in {sorted({*artifacts} ^ {*expected})} or in their bytes")
            logs = _read_files(files.logs)
            expect(any(b"all written" in text for text in logs.values()), f"the log is not in {sorted(logs)}")

    def test_collect_returns_the_files_of_a_failed_job(self, bench: ExecutorBench) -> None:
        """They are needed to diagnose the failure."""
        executor = bench.open()
        script = 'echo half > "$NEL_OUTPUT_DIR/half"; echo out of luck; exit 1'
        attempt = executor.submit(bench.job(script), 1, INVOCATION)
        bench.wait_until_final(executor, attempt)
        files = JobFiles(bench.home / "collected")
        executor.collect(attempt, files.root)
        expect(_read_files(files.artifacts) == {"half": b"half\n"}, "the artifacts of a failed job are missing")
        logs = _read_files(files.logs)
        expect(any(b"out of luck" in text for text in logs.values()), "the log of a failed job is missing")

    def test_collect_of_a_missing_job_raises_and_changes_nothing(self, bench: ExecutorBench) -> None:
        """Incomplete results must never look complete."""
        executor = bench.open()
        existing = executor.submit(bench.job("true"), 1, INVOCATION)
        bench.wait_until_final(executor, existing)
        missing = Attempt(key=bench.job("true").key, number=1, backend_id=existing.backend_id + "9")
        files = JobFiles(bench.home / "collected")
        files.artifacts.mkdir(parents=True)
        (files.artifacts / "before").write_text("from an earlier collection")
        with expect_error(NelActionError, "collect() of a missing job raised nothing"):
            executor.collect(missing, files.root)
        artifacts = _read_files(files.artifacts)
        unchanged = artifacts == {"before": b"from an earlier collection"}
        expect(unchanged, f"a failed collect() left {sorted(artifacts)}")

    def test_close_does_not_stop_jobs(self, bench: ExecutorBench) -> None:
        """`close` may be called twice."""
        gate = bench.scratch / "gate"
        job, starts = bench.counting_job('until [ -e "${1%/*}/gate" ]; do sleep 0.1; done')
        executor = bench.open()
        attempt = executor.submit(job, 1, INVOCATION)
        executor.close()
        executor.close()
        gate.touch()
        (status,) = bench.wait_until_final(bench.open(), attempt)
        expect(status.state is JobState.SUCCEEDED, f"after close() the job is {status}")
        expect(count_starts(starts) == 1, f"the job was started {count_starts(starts)} times")
