"""Unexpected errors of the command line: exit code 3, one line, the traceback in a log file."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.project import Project

from nel_action.model.results import JobOutcome, Results, Sample, Score, TaskResult, write_results, write_samples

pytestmark = pytest.mark.slow

RAISING = """
import sys
from nel_action.cli.app import main
from nel_action.cli.version import version
def fail(**_): raise {error}
version.callback = fail
sys.argv = ["nel-action", *{argv!r}]
main()
"""


def raising(error: str, home: Path, *argv: str, **environ: str) -> subprocess.CompletedProcess[str]:
    """Run a command that raises an exception which nothing expects."""
    code = RAISING.format(error=error, argv=argv or ("version",))
    variables = {**os.environ, "NEL_ACTION_HOME": str(home), **environ}
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60, env=variables
    )


def nel(*argv: str, home: Path, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(  # type: ignore[call-overload, no-any-return]
        [sys.executable, "-m", "nel_action", *argv],
        **({"stdout": subprocess.PIPE} | options),
        stderr=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, "NEL_ACTION_HOME": str(home)},
    )


def write_run(folder: Path, values: list[float], *, samples: bool = True) -> Path:
    items = [Sample(id=str(index), scores={"acc": value}) for index, value in enumerate(values)]
    if samples:
        write_samples(items, folder / "samples/t.jsonl.gz")
    mean = sum(values) / len(values)
    task = TaskResult(
        task="t",
        model="m",
        job_id=f"{'0' * 16}.0",
        key="nel-0",
        outcome=JobOutcome.SUCCEEDED,
        primary_metric="acc",
        scores=(Score(metric="acc", value=mean, stderr=0.1, n=len(values), higher_is_better=True),),
        n_items=len(values),
        samples="samples/t.jsonl.gz" if samples else None,
    )
    folder.mkdir(parents=True, exist_ok=True)
    results = Results(invocation="0" * 16, created="2026-01-01T00:00:00Z", tool_version="0", tasks=(task,))
    write_results(results, folder / "results.json")
    return folder


@pytest.mark.parametrize(
    "error",
    [
        "RuntimeError('broken\\nover two lines')",
        "AssertionError()",
        "MemoryError()",
        "RecursionError()",
        "KeyError('x')",
        "SystemExit(1)",
        "UnicodeDecodeError('utf-8', b'\\xe9', 0, 1, 'invalid')",
        "OSError(28, 'No space left on device', '/data/report.md')",
    ],
)
def test_unexpected_errors_exit_with_3_in_one_line(error: str, tmp_path: Path) -> None:
    process = raising(error, tmp_path)
    assert process.returncode == 3
    assert len(process.stderr.splitlines()) == 1
    assert "Traceback" not in process.stderr
    (log,) = (tmp_path / "logs").iterdir()
    assert str(log) in process.stderr
    assert "Traceback" in log.read_text()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_full_disk_names_file_and_fix(tmp_path: Path) -> None:
    process = raising("OSError(28, 'No space left on device', '/data/report.md')", tmp_path)
    assert "/data/report.md: No space left on device; free space" in process.stderr


def test_verbose_prints_the_traceback(tmp_path: Path) -> None:
    process = raising("RuntimeError('broken')", tmp_path, "-v", "version")
    assert process.returncode == 3
    assert "Traceback" in process.stderr
    assert "unexpected error: RuntimeError: broken" in process.stderr.splitlines()[-1]


def test_crash_report_is_redacted(tmp_path: Path) -> None:
    process = raising("RuntimeError('token t0p-s3cret')", tmp_path, "-v", "version", SOME_TOKEN="t0p-s3cret")
    (log,) = (tmp_path / "logs").iterdir()
    assert "t0p-s3cret" not in process.stderr + log.read_text()


def test_exit_code_does_not_depend_on_the_log_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    process = raising("RuntimeError('broken')", tmp_path / "file/home", TMPDIR=str(tmp_path / "file"))
    assert process.returncode == 3
    assert len(process.stderr.splitlines()) == 1


def test_installation_that_cannot_be_imported_exits_with_3() -> None:
    code = "import sys; sys.modules['click'] = None; from nel_action.__main__ import main; main()"
    process = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=60)
    assert process.returncode == 3
    assert "Traceback" not in process.stderr


@pytest.mark.parametrize(("argv", "code"), [(("ls", "tasks"), 0), (("gate",), 3)])
def test_closed_pipe_is_no_error_unless_the_exit_code_is_a_verdict(
    argv: tuple[str, ...], code: int, tmp_path: Path
) -> None:
    run = write_run(tmp_path / "run", [1.0, 0.0, 1.0])
    reader, writer = os.pipe()
    os.close(reader)
    process = nel(*argv, *([str(run)] if argv == ("gate",) else []), home=tmp_path, stdout=writer)
    os.close(writer)
    assert process.returncode == code, process.stderr


def test_full_standard_output_is_no_verdict(tmp_path: Path) -> None:
    run = write_run(tmp_path / "run", [1.0, 0.0, 1.0])
    with Path("/dev/full").open("w") as full:
        process = nel("gate", str(run), home=tmp_path, stdout=full)
    assert process.returncode == 3
    assert "No space left on device" in process.stderr


def test_report_that_cannot_be_written_is_named_and_the_verdict_is_on_disk(tmp_path: Path) -> None:
    project = Project(tmp_path / "checkout", tasks=("alpha",))
    process = project.nel("run", str(project.folder / "spec.yaml"), "--skip-endpoint-check", "--wait")
    assert process.returncode == 0, process.stderr
    (verdict,) = project.folder.rglob("gate.json")
    (verdict.parent / "report.html").unlink()
    (verdict.parent / "report.html").mkdir()
    verdict.unlink()
    process = project.nel("wait", str(verdict.parent))
    assert process.returncode == 3
    assert f"cannot write the report: {verdict.parent / 'report.html'}" in process.stderr
    assert "Traceback" not in process.stderr
    assert verdict.is_file()


@pytest.mark.parametrize("policy", ["max_drop: 0.1", "max_relative_drop: 0.1"])
@pytest.mark.parametrize("values", [[1e300, -1e300, 0.0], [1e300] * 4])
def test_huge_item_scores_are_unmeasurable(policy: str, values: list[float], tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(f"defaults: {{{policy}}}\n")
    run = str(write_run(tmp_path / "run", values))
    process = nel("gate", "-p", str(tmp_path / "policy.yaml"), run, run, home=tmp_path)
    assert process.returncode == 3, process.stdout + process.stderr
    assert "the range that can be judged" in " ".join(process.stdout.split())


@pytest.mark.parametrize("value", [1.0, 0.5])
@pytest.mark.parametrize("policy", ["max_drop: 0.1", "max_relative_drop: 0.1"])
def test_scores_of_one_item_are_no_failure(value: float, policy: str, tmp_path: Path) -> None:
    (tmp_path / "policy.yaml").write_text(f"defaults: {{{policy}}}\n")
    run = str(write_run(tmp_path / "run", [value], samples=False))
    process = nel("gate", "-p", str(tmp_path / "policy.yaml"), run, run, home=tmp_path)
    assert process.returncode in {3, 4}, process.stdout + process.stderr


@pytest.mark.parametrize(
    "content", [b"not a database " * 9, b"SQLite format 3\0" + b"\xff" * 4096, bytes(range(256)) * 16]
)
def test_damaged_ledger_is_named_with_the_way_to_rebuild_it(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "ledger.db").write_bytes(content)
    done = nel("ls", "runs", home=tmp_path)
    (line,) = done.stderr.splitlines()
    assert (done.returncode, line.partition(" is damaged")[0]) == (3, f"the ledger {tmp_path}/ledger.db")
    assert "move it away; `nel-action wait RUN_DIR` adds an invocation again" in line


SLURM = """\
execution: {{type: slurm, hostname: {host}, port: 9, output_dir: /x, runtime: none, outage_timeout: 0}}
target: {{api_endpoint: {{model_id: m, url: 'http://127.0.0.1:9/v1/chat/completions'}}}}
evaluation: {{tasks: [{{name: own, harness: command, command: [x]}}]}}
"""


@pytest.mark.parametrize(
    ("host", "message"), [("127.0.0.1", "refuses connections"), ("no-such-host.invalid", "unknown host")]
)
def test_ssh_failures_exit_with_3_and_state_the_fix(tmp_path: Path, host: str, message: str) -> None:
    (tmp_path / "s.yaml").write_text(SLURM.format(host=host))
    done = nel("run", "s.yaml", "--skip-endpoint-check", home=tmp_path / "home", cwd=tmp_path)
    first, fix, *rest = done.stderr.splitlines()
    assert (done.returncode, rest) == (3, [])
    assert message in first
    assert fix.startswith("  check ")
