"""Ending, bringing home, and letting go."""

from __future__ import annotations

from pathlib import Path

from nel_action.errors import NelActionError
from nel_action.model.job import Attempt, JobState
from nel_action.testing.expect import expect, expect_error
from nel_action.testing.harness import INVOCATION, ExecutorBench

__all__ = ["EndingTests"]

LEAVE = """
cd "$NEL_OUTPUT_DIR"
mkdir -p "deep/er folder"
printf 'a\\000b\\377' > "deep/er folder/bytes.bin"
printf 'ü' > 'deep/näme'
: > empty
i=0; while [ $i -lt 300 ]; do i=$((i+1)); echo "$i" > "deep/sample-$i"; done
echo left all
"""


def _files(folder: Path) -> dict[str, bytes]:
    found = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


class EndingTests:
    """Tests of `cancel`, `collect` and `close`."""

    def test_cancel_returns_when_nothing_runs_any_more(self, bench: ExecutorBench) -> None:
        """Verified, not hoped: the process is gone, and the job is told as cancelled."""
        job, lock = bench.held()
        executor = bench.open()
        attempt = executor.submit(job, 1, INVOCATION)
        bench.until_held(lock)
        bench.open().cancel([attempt])
        bench.until_let_go(lock)
        (status,) = bench.until_final(executor, attempt)
        expect(status.state is JobState.CANCELLED, f"a cancelled job ended so: {status}")
        bench.open().cancel([attempt])

    def test_what_has_ended_cannot_be_cancelled(self, bench: ExecutorBench) -> None:
        """A result stays a result; nothing to cancel is no error."""
        executor = bench.open()
        attempt = executor.submit(bench.job("true"), 1, INVOCATION)
        bench.until_final(executor, attempt)
        executor.cancel([])
        executor.cancel([attempt])
        status = executor.poll([attempt])[attempt.key]
        expect(status.state is JobState.SUCCEEDED, f"cancel() made a finished job {status}")

    def test_everything_is_brought_home(self, bench: ExecutorBench) -> None:
        """Names and bytes as they were; collecting again changes nothing."""
        executor = bench.open()
        attempt = executor.submit(bench.job(LEAVE), 1, INVOCATION)
        (status,) = bench.until_final(executor, attempt)
        expect(status.state is JobState.SUCCEEDED, f"the job ended so: {status}")
        wanted = {f"deep/sample-{number}": f"{number}\n".encode() for number in range(1, 301)}
        wanted |= {"deep/er folder/bytes.bin": b"a\0b\xff", "deep/näme": "ü".encode(), "empty": b""}
        into = bench.home / "collected"
        for _ in range(2):
            bench.open().collect(attempt, into)
            came = _files(into / "artifacts")
            expect(came == wanted, f"artifacts differ in {sorted({*came} ^ {*wanted})} or in their bytes")
            logs = _files(into / "logs")
            expect(any(b"left all" in text for text in logs.values()), f"the log is not among {sorted(logs)}")

    def test_what_a_failed_job_left_is_brought_home_too(self, bench: ExecutorBench) -> None:
        """Somebody will want to know why."""
        executor = bench.open()
        script = 'echo half > "$NEL_OUTPUT_DIR/half"; echo out of luck; exit 1'
        attempt = executor.submit(bench.job(script), 1, INVOCATION)
        bench.until_final(executor, attempt)
        into = bench.home / "collected"
        executor.collect(attempt, into)
        expect(_files(into / "artifacts") == {"half": b"half\n"}, "what a failed job left did not come")
        expect(any(b"out of luck" in text for text in _files(into / "logs").values()), "its log did not come")

    def test_what_is_not_there_is_an_error_and_changes_nothing(self, bench: ExecutorBench) -> None:
        """Less than everything never looks like everything."""
        executor = bench.open()
        there = executor.submit(bench.job("true"), 1, INVOCATION)
        bench.until_final(executor, there)
        ghost = Attempt(key=bench.job("true").key, number=1, backend_id=there.backend_id + "9")
        into = bench.home / "collected"
        (into / "artifacts").mkdir(parents=True)
        (into / "artifacts" / "before").write_text("from an earlier look")
        with expect_error(NelActionError, "collect() of what is not there raised nothing"):
            executor.collect(ghost, into)
        left = _files(into / "artifacts")
        expect(left == {"before": b"from an earlier look"}, f"a collect() that failed left {sorted(left)}")

    def test_jobs_outlive_the_executor(self, bench: ExecutorBench) -> None:
        """`close` lets go of connections, never of jobs, and may be called twice."""
        gate = bench.scratch / "gate"
        job, began = bench.counted('until [ -e "${1%/*}/gate" ]; do sleep 0.1; done')
        first = bench.open()
        attempt = first.submit(job, 1, INVOCATION)
        first.close()
        first.close()
        gate.touch()
        (status,) = bench.until_final(bench.open(), attempt)
        expect(status.state is JobState.SUCCEEDED, f"after close() the job ended so: {status}")
        expect(began.read_text().splitlines() == ["began"], "the job did not run once")

    def test_a_refused_job_is_an_error(self, bench: ExecutorBench) -> None:
        """A job whose secret has no value here is refused before anything is started."""
        job, began = bench.counted("true", env={"GIVEN": "host:SUITE_NO_SUCH_VARIABLE"})
        executor = bench.open()
        with expect_error(NelActionError, "submit() took a job whose secret has no value"):
            executor.submit(job, 1, INVOCATION)
        expect(not began.exists(), "a refused job ran")
        expect(not executor.find([job.key]), "a refused job is found")
