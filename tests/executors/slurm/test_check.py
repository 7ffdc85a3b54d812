"""Checks of a plan with stub programs of Slurm; integration tests use a real cluster."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.plans import make_test_plan
from tests.support.slurm.jobs import shell_job
from tests.support.slurm.stub_cluster import StubCluster

from nel_action.errors import EngineError, Problem, SpecProblem
from nel_action.executors.slurm.check import check
from nel_action.executors.slurm.slurm_job import SlurmJob
from nel_action.executors.slurm.transport import ControllerDownError

pytestmark = pytest.mark.slow

PARTITIONS = """\
PartitionName=main AllowAccounts=ALL Default=YES MaxNodes=UNLIMITED MaxTime=UNLIMITED State=UP TotalCPUs=8 TotalNodes=4
PartitionName=small AllowAccounts=ALL Default=NO MaxNodes=1 MaxTime=00:30:00 State=UP TotalCPUs=2 TotalNodes=1
PartitionName=asleep AllowAccounts=ALL Default=NO MaxNodes=UNLIMITED MaxTime=UNLIMITED State=DOWN TotalNodes=2
"""

Check = Callable[..., list[Problem]]


@pytest.fixture
def cluster(tmp_path: Path) -> StubCluster:
    stub = StubCluster(tmp_path / "cluster")
    stub.set_program("scontrol", f"cat <<'END'\n{PARTITIONS}END")
    stub.set_program("sinfo", "echo 'main idle'; echo 'main allocated+'")
    return stub


@pytest.fixture
def run(cluster: StubCluster, tmp_path: Path) -> Check:
    """Return a function that checks a plan of one job."""

    def check_plan(**fields: Any) -> list[Problem]:  # noqa: ANN401
        executor = cluster.executor(**fields)
        problems = check(executor.remote, executor._settings, [SlurmJob(shell_job(tmp_path), 1, executor._settings)])
        assert executor.remote.round_trips == 1
        return problems

    return check_plan


def test_valid_plan_has_no_problems(run: Check) -> None:
    assert run() == []
    assert run(partition=None) == []
    assert run(partition="small,main", num_nodes=2) == [], "one partition suffices"


def test_all_problems_are_reported_at_once(cluster: StubCluster, run: Check) -> None:
    cluster.set_program(
        "sbatch",
        """\
text=$(cat)
case $text in *--partition=nowhere*) echo "sbatch: error: invalid partition specified: nowhere" ;;
*--account=*) echo "allocation failure: Invalid account or account/partition combination specified" ;;
*--gres=*) echo "allocation failure: Invalid generic resource (gres) specification" ;;
*) exit 0 ;; esac >&2
exit 1""",
    )
    problems = run(
        partition="nowhere", account="none", gres="gpu:99", output_dir="/proc/nobody", environment={"path": "/e"}
    )
    assert all(isinstance(problem, SpecProblem) for problem in problems)
    keys = ("partition", "account", "output_dir")
    hints = [str(problem) for problem in problems]
    for key in keys:
        assert [hint for hint in hints if f"execution.{key}" in hint], (key, hints)
    problems = run(account="none", gres="gpu:99")
    assert [problem.hint for problem in problems] == [
        "check execution.account; sacctmgr show associations user=$USER lists yours",
        "check execution.gres",
    ]


@pytest.mark.parametrize(
    ("fields", "message", "key"),
    [
        ({"partition": "nowhere"}, "unknown partition 'nowhere'", "the cluster has asleep, main, small"),
        ({"partition": "small", "walltime": "01:00:00"}, "exceeds the limit of partition small", "execution.walltime"),
        ({"partition": "small", "num_nodes": 2}, "2 nodes exceed the limit of partition small", "execution.num_nodes"),
        ({"num_nodes": 9}, "9 nodes exceed the limit of partition main (4)", "execution.num_nodes"),
    ],
)
def test_limits_of_partitions_name_the_setting(run: Check, fields: dict[str, object], message: str, key: str) -> None:
    (problem,) = [each for each in run(**fields) if message in each.message]
    assert key in (problem.hint or "")


def test_missing_programs_of_slurm_name_bin_dir_and_login_shell(cluster: StubCluster, run: Check) -> None:
    cluster.set_program("scontrol", "exit 127")
    (problem,) = run()
    assert "Slurm's programs are not in the PATH of commands on this login node" in problem.message
    assert "execution.bin_dir" in (problem.hint or "")
    assert "execution.login_shell" in (problem.hint or "")
    assert isinstance(problem, SpecProblem)


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("slurm_load_partitions: Unable to contact slurm controller (connect failure)", ControllerDownError, "answer"),
        (
            "error: fetch_config: DNS SRV lookup failed; could not establish a configuration source",
            EngineError,
            "no conf",
        ),
        ("error: authentication: Socket communication error", EngineError, "authentication fails"),
        ("scontrol: some new error", EngineError, "scontrol fails on this login node: scontrol: some new error"),
    ],
)
def test_failures_of_scontrol_are_told_apart(
    cluster: StubCluster, run: Check, text: str, error: type[EngineError], message: str
) -> None:
    cluster.set_program("scontrol", f"echo {text!r} >&2; exit 1")
    with pytest.raises(error, match=message) as raised:
        run()
    assert type(raised.value) is error


def test_check_waits_for_the_controller(cluster: StubCluster, tmp_path: Path) -> None:
    script = (
        "[ -e {0} ] || {{ touch {0}; echo 'Unable to contact slurm controller' >&2; exit 1; }}; cat <<'END'\n{1}END"
    )
    cluster.set_program("scontrol", script.format(tmp_path / "asked", PARTITIONS))
    executor = cluster.executor(outage_timeout=60)
    plan = replace(make_test_plan("a"), jobs=(shell_job(tmp_path),))
    assert executor.check(plan) == []


@pytest.mark.parametrize(
    ("error", "states"),
    [
        ("allocation failure: Requested node configuration is not available", "drained*"),
        ("allocation failure: Requested node configuration is not available", "maint"),
        ("allocation failure: Required partition not available (inactive or drain)", "idle"),
        ("error: AssocGrpSubmitJobsLimit", "idle"),
        ("allocation failure: Requested nodes are busy", "reserved"),
    ],
)
def test_jobs_that_can_wait_are_accepted(
    cluster: StubCluster, run: Check, caplog: pytest.LogCaptureFixture, error: str, states: str
) -> None:
    cluster.set_program("sbatch", f"echo 'sbatch: {error}' >&2; exit 1")
    cluster.set_program("sinfo", f"echo 'main idle'; echo 'main {states}'")
    with caplog.at_level(logging.WARNING, logger="nel_action"):
        assert run() == []
    assert "the jobs will wait" in caplog.text


@pytest.mark.parametrize("queued", [True, False])
def test_limit_on_submitted_jobs_can_be_waited_for_only_if_there_are_some(
    cluster: StubCluster,
    run: Check,
    queued: bool,  # noqa: FBT001
) -> None:
    cluster.set_program("sbatch", "echo 'sbatch: error: AssocMaxSubmitJobLimit' >&2; exit 1")
    cluster.set_program("squeue", "echo 4711" if queued else "exit 0")
    problems = run()
    assert [problem.hint for problem in problems if "execution.account" not in (problem.hint or "")] == []
    assert bool(problems) is not queued


def test_request_that_no_node_can_serve_is_rejected(cluster: StubCluster, run: Check) -> None:
    cluster.set_program(
        "sbatch", "echo 'allocation failure: Requested node configuration is not available' >&2; exit 1"
    )
    (problem,) = run()
    assert "gres" in (problem.hint or "")


def test_partition_that_is_down_is_waited_for(run: Check, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="nel_action"):
        assert run(partition="asleep") == []
    assert "partition asleep is down" in caplog.text


def test_full_disk_is_not_a_problem_of_the_spec(cluster: StubCluster, run: Check) -> None:
    cluster.set_program("mktemp", "echo 'mktemp: No space left on device' >&2; exit 1")
    (problem,) = run()
    assert not isinstance(problem, SpecProblem)
    assert "quota" in (problem.hint or "")


@pytest.mark.parametrize(("path", "message"), [("nel", "not an absolute path"), ("/a%b", "contains '%'")])
def test_invalid_output_dir_is_explained(cluster: StubCluster, path: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cluster.executor(output_dir=path)
