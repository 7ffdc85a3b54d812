"""Validation of plans, dry runs, and what a job receives and returns."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import pytest
from tests.doubles.lepton.settings import NodeGroup
from tests.support.lepton_jobs import LeptonBench, scoring_script, tiny_deployment, wait
from tests.support.local_jobs import INVOCATION

from nel_action.model.job import JobState
from nel_action.planning.jobs import Context, Job, Plan
from nel_action.spec.model import Spec

pytestmark = [pytest.mark.slow, pytest.mark.lepton]


def problems_of(bench: LeptonBench, job: Job, **settings: object) -> str:
    """Return all problems of a plan with one job; nothing may have been created."""
    executor = bench.executor(**settings)
    plan = Plan(spec=Spec.model_construct(deployment=job.deployment), context=Context(), jobs=(job,))
    problems = executor.check(plan)
    assert not bench.double.jobs.records
    assert not bench.double.endpoints.records
    return "\n".join(map(str, problems))


def test_check_accepts_a_valid_plan(bench: LeptonBench) -> None:
    platform = {"deployment": {"node_group": "group-one"}, "tasks": {"node_group": "ng-1"}}
    job = bench.job("alpha", scoring_script(), deployment=tiny_deployment(bench.root / "server"))
    assert problems_of(bench, job, lepton_platform=platform) == ""


@pytest.mark.parametrize(
    ("settings", "fields", "message"),
    [
        ({"lepton_platform": {"tasks": {"node_group": "group-on"}}}, {}, "unknown node group 'group-on'"),
        ({"lepton_platform": {"tasks": {"node_group": "x"}}}, {}, "available: group-one, group-two"),
        ({"evaluation_tasks": {"resource_shape": "cpu.smal"}}, {}, "did you mean 'cpu.small'?"),
        (
            {"evaluation_tasks": {"resource_shape": "gpu.8xh200"}},
            {},
            "8 accelerators exceed the workspace's quota of 4",
        ),
        ({}, {"env": {"LEPTON_JOB_NAME": "lit:x"}}, "LEPTON_JOB_NAME is reserved by Lepton"),
        ({}, {"env": {"KEY": "runtime:NOT_THERE"}}, "KEY: the workspace has no secret 'NOT_THERE'"),
        ({"env_var_names": ("NOWHERE",)}, {}, "the variable NOWHERE is not set"),
        ({}, {"image": None}, "alpha: no container image"),
        ({}, {"dataset": ("/data/set", "/datasets")}, "/data/set is not on a mounted volume"),
        (
            {"lepton_platform": {"tasks": {"mounts": ({"from": "node-nfs:fs", "path": "/", "mount_path": "/opt"},)}}},
            {},
            "'/opt' is reserved by Lepton",
        ),
    ],
)
def test_check_compares_the_plan_with_the_workspace(
    bench: LeptonBench, settings: dict[str, Any], fields: dict[str, Any], message: str
) -> None:
    bench.double.settings.node_groups["ng-2"] = NodeGroup("group-two")
    bench.double.settings.quota = (192, 4 << 20, 4)
    assert message in problems_of(bench, bench.job("alpha", scoring_script(), **fields), **settings)


@pytest.mark.parametrize(
    ("platform", "fields", "message"),
    [
        ({}, {"image": None}, "deployment.image is missing"),
        ({}, {"pre_cmd": "true"}, "a shell command, which needs execution.trust_commands"),
        ({}, {"config": {"mounts": {"enabled": True}}}, "lepton_config.mounts names no volume"),
        ({}, {"config": {"auto_scaler": {"scale_up": 1}}}, "Lepton endpoints have no setting auto_scaler.scale_up"),
        ({"platform_defaults": {"enable_rdma": True}}, {}, "Lepton endpoints have no setting enable_rdma"),
        ({"node_group": "gone"}, {}, "unknown node group 'gone'"),
    ],
)
def test_check_validates_the_endpoint(
    bench: LeptonBench, platform: dict[str, Any], fields: dict[str, Any], message: str
) -> None:
    job = bench.job("alpha", scoring_script(), deployment=tiny_deployment(bench.root / "server", **fields))
    assert message in problems_of(bench, job, lepton_platform={"deployment": platform})


def test_check_reports_a_task_directory_that_is_too_large_to_send(bench: LeptonBench) -> None:
    directory = bench.root / "task"
    directory.mkdir()
    (directory / "data").write_bytes(os.urandom(1 << 20))
    assert "too large" in problems_of(bench, bench.job("alpha", scoring_script(), task_dir=directory))


def test_check_reports_a_paused_workspace_and_a_rejected_token(
    bench: LeptonBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.double.settings.state = "paused"
    assert "the workspace is paused" in problems_of(bench, bench.job("alpha", scoring_script()))
    monkeypatch.setenv("LEPTON_WORKSPACE_TOKEN", "old")
    assert "rejected the token (401)" in problems_of(bench, bench.job("alpha", scoring_script()))


def test_survey_returns_state_node_groups_and_quota(bench: LeptonBench) -> None:
    survey = dict(bench.executor().survey())
    assert "the token is accepted" in survey["workspace"]
    assert survey["node groups"] == "group-one"
    assert "0 of 16 accelerators" in survey["quota used"]


def test_scripts_show_the_body_that_submit_sends(bench: LeptonBench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "s3cret-value")
    tasks = {"priority_class": "mid-4000", "can_preempt": False, "shared_memory_size": 64, "retries": 2}
    platform = {
        "tasks": {
            "node_group": "ng-1",
            "image_pull_secrets": ("registry",),
            "env_vars": {"PLAIN": "text"},
            "mounts": ({"from": "node-nfs:fs", "path": "/runs", "mount_path": "/mnt/volume"},),
        }
    }
    executor = bench.executor(evaluation_tasks=tasks, lepton_platform=platform)
    job = bench.job("alpha", scoring_script(), env={"SECRET": "host:SECRET"})
    shown = json.loads(executor.scripts(job, 1)["lepton_job.json"])
    attempt = executor.submit(job, 1, INVOCATION)
    sent = bench.double.requests("POST", "/jobs")[0].body
    assert "s3cret-value" not in json.dumps([shown, sent])
    for body in (shown, sent):
        body["metadata"]["labels"].pop("nel-action-invocation")
        for variable in body["spec"]["envs"]:
            if variable["name"] == "SECRET":
                assert variable.pop("value_from")["secret_name_ref"].startswith("nel-secret-")
    assert shown == sent
    assert len(sent["metadata"]["name"]) <= 36
    assert sent["metadata"]["labels"]["nel-action-key"] == job.key
    assert sent["spec"]["queue_config"] == {"priority_class": "mid-4000", "can_preempt": False}
    assert (sent["spec"]["shared_memory_size"], sent["spec"]["max_job_failure_retry"]) == (64, 2)
    assert sent["spec"]["ttl_seconds_after_finished"] == 7 * 24 * 3600
    assert sent["spec"]["image_pull_secrets"] == ["registry"]
    assert wait(executor, [attempt])[job.key].state is JobState.SUCCEEDED


def test_collect_reads_results_from_a_volume_that_this_machine_can_read(bench: LeptonBench) -> None:
    volume = bench.double.settings.volumes["node-nfs:fs"]
    mount = {
        "from": "node-nfs:fs",
        "path": "/runs",
        "mount_path": "/mnt/volume",
        "local_path": str(volume / "runs"),
    }
    platform = {"tasks": {"mounts": (mount,)}}
    executor, job = bench.executor(lepton_platform=platform), bench.job("alpha", scoring_script())
    attempt = executor.submit(job, 1, INVOCATION)
    assert wait(executor, [attempt])[job.key].state is JobState.SUCCEEDED
    directory = volume / "runs" / "nel-action" / f"{job.key}-1"
    assert (directory / "artifacts" / "scores.json").is_file()
    bench.double.jobs.get(attempt.backend_id).log.lines.clear()
    executor.collect(attempt, bench.root / "home")
    assert (bench.root / "home" / "artifacts" / "scores.json").is_file()


def test_a_restarted_job_sends_the_results_that_the_volume_has(bench: LeptonBench) -> None:
    mount = {"from": "node-nfs:fs", "path": "/", "mount_path": "/mnt/volume"}
    runs = bench.root / "runs"
    job = bench.job("alpha", scoring_script(extra=f"open({str(runs)!r}, 'a').write('once ')"))
    executor = bench.executor(lepton_platform={"tasks": {"mounts": (mount,)}})
    attempt = executor.submit(job, 1, INVOCATION)
    wait(executor, [attempt])
    body = bench.double.requests("POST", "/jobs")[0].body
    bench.double.jobs.delete(bench.double.jobs.get(attempt.backend_id), "alive_and_archive")
    bench.double.jobs.records.clear()
    executor.client.request("post", "/jobs", operation="start the job again", json=body)
    later = bench.executor()
    assert wait(later, [later.find([job.key])[job.key]])[job.key].state is JobState.SUCCEEDED
    assert runs.read_text() == "once "
    later.collect(attempt, bench.root / "home")


def test_a_dataset_below_the_spec_is_sent_with_the_job(bench: LeptonBench) -> None:
    data = bench.root / "data"
    data.mkdir()
    (data / "items").write_text("42")
    target = bench.root / "mounted" / "datasets"
    job = bench.job(
        "alpha",
        scoring_script(extra=f"print(open({str(target / 'items')!r}).read())"),
        dataset=(str(data), str(target)),
    )
    executor = bench.executor()
    attempt = executor.submit(job, 1, INVOCATION)
    assert wait(executor, [attempt])[job.key].state is JobState.SUCCEEDED
    assert "42" in list(executor.logs(attempt, follow=False))


def test_a_dataset_on_the_volume_is_mounted(bench: LeptonBench) -> None:
    volume = bench.double.settings.volumes["node-nfs:fs"]
    (volume / "sets" / "first").mkdir(parents=True)
    (volume / "sets" / "first" / "items").write_text("43")
    mount = {"from": "node-nfs:fs", "path": "/runs", "mount_path": "/mnt/volume"}
    job = bench.job(
        "alpha",
        scoring_script(extra="print(open('/mnt/datasets/items').read())"),
        dataset=("/sets/first", "/mnt/datasets"),
    )
    executor = bench.executor(lepton_platform={"tasks": {"mounts": (mount,)}})
    attempt = executor.submit(job, 1, INVOCATION)
    assert wait(executor, [attempt])[job.key].state is JobState.SUCCEEDED
    assert "43" in list(executor.logs(attempt, follow=False))


def test_opening_an_executor_does_not_import_the_sdk(bench: LeptonBench) -> None:
    import subprocess

    script = (
        "import sys; from pathlib import Path; "
        "from nel_action.executors.lepton.executor import LeptonExecutor; "
        "from nel_action.executors.interface import ExecutorContext; "
        "from nel_action.spec.lepton import LeptonExecution; "
        "LeptonExecutor(LeptonExecution(), ExecutorContext(home=Path('.'), environ={}, base_dir=Path('.'))).close(); "
        "sys.exit(any(name in sys.modules for name in ('leptonai', 'requests', 'ray')))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False, cwd=bench.root).returncode == 0


def test_doctor_shows_the_workspace_and_the_problems_of_a_spec(
    bench: LeptonBench, monkeypatch: pytest.MonkeyPatch
) -> None:
    from click.testing import CliRunner

    from nel_action.cli.app import root

    monkeypatch.setenv("NEL_ACTION_HOME", str(bench.root / "home"))
    spec = bench.root / "spec.yaml"
    spec.write_text(
        "defaults: [execution: lepton/default, deployment: none, _self_]\n"
        "execution: {lepton_platform: {tasks: {node_group: elsewhere}}}\n"
        "target: {api_endpoint: {url: 'http://127.0.0.1:9/v1/chat/completions', model_id: m}}\n"
        "evaluation: {tasks: [{name: a, harness: command, container: 'img:1', command: ['true']}]}\n"
    )
    done = CliRunner().invoke(root, ["doctor", str(spec)], standalone_mode=False)
    assert done.return_value == 3
    assert "ws (normal), the token is accepted" in done.output
    assert "unknown node group 'elsewhere'" in done.output
