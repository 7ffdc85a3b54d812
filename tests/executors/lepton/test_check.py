"""What is told before anything is spent, and what is shown of what would be sent."""

from __future__ import annotations

import json
import os
import sys
from typing import Any

import pytest
from tests.doubles.lepton.settings import NodeGroup
from tests.support.lepton_jobs import Bench, leaves, served, wait
from tests.support.local_jobs import INVOCATION

from nel_action.model.job import JobState
from nel_action.planning.jobs import Context, Job, Plan
from nel_action.spec.model import Spec

pytestmark = pytest.mark.lepton


def told(bench: Bench, job: Job, **settings: object) -> str:
    """Return all problems of a plan with one job."""
    executor = bench.executor(**settings)
    plan = Plan(spec=Spec.model_construct(deployment=job.deployment), context=Context(), jobs=(job,))
    problems = executor.check(plan)
    assert not bench.double.jobs.records
    assert not bench.double.endpoints.records
    return "\n".join(map(str, problems))


def test_nothing_is_wrong_with_what_is_right(bench: Bench) -> None:
    platform = {"deployment": {"node_group": "group-one"}, "tasks": {"node_group": "ng-1"}}
    job = bench.job("alpha", leaves(), deployment=served(bench.root / "server"))
    assert told(bench, job, lepton_platform=platform) == ""


@pytest.mark.parametrize(
    ("settings", "fields", "said"),
    [
        ({"lepton_platform": {"tasks": {"node_group": "group-on"}}}, {}, "no node group 'group-on' in the workspace"),
        ({"lepton_platform": {"tasks": {"node_group": "x"}}}, {}, "there are: group-one, group-two"),
        ({"evaluation_tasks": {"resource_shape": "cpu.smal"}}, {}, "did you mean 'cpu.small'?"),
        (
            {"evaluation_tasks": {"resource_shape": "gpu.8xh200"}},
            {},
            "8 accelerators are more than the workspace's quota",
        ),
        ({}, {"env": {"LEPTON_JOB_NAME": "lit:x"}}, "LEPTON_JOB_NAME is reserved by Lepton"),
        ({}, {"env": {"KEY": "runtime:NOT_THERE"}}, "the workspace has no secret 'NOT_THERE', which KEY is taken from"),
        ({"env_var_names": ("NOWHERE",)}, {}, "the variable NOWHERE is not set"),
        ({}, {"image": None}, "alpha: no image is known for it"),
        ({}, {"dataset": ("/data/set", "/datasets")}, "/data/set is on no mounted volume"),
        (
            {"lepton_platform": {"tasks": {"mounts": ({"from": "node-nfs:fs", "path": "/", "mount_path": "/opt"},)}}},
            {},
            "'/opt' is reserved by Lepton",
        ),
    ],
)
def test_what_does_not_fit_the_workspace_is_told(
    bench: Bench, settings: dict[str, Any], fields: dict[str, Any], said: str
) -> None:
    bench.double.settings.node_groups["ng-2"] = NodeGroup("group-two")
    bench.double.settings.quota = (192, 4 << 20, 4)
    assert said in told(bench, bench.job("alpha", leaves(), **fields), **settings)


@pytest.mark.parametrize(
    ("platform", "fields", "said"),
    [
        ({}, {"image": None}, "deployment.image is missing"),
        ({}, {"pre_cmd": "true"}, "shell text, which is not run unless it is trusted"),
        ({}, {"config": {"mounts": {"enabled": True}}}, "lepton_config.mounts names no volume"),
        ({}, {"config": {"auto_scaler": {"scale_up": 1}}}, "Lepton's endpoints know no auto_scaler.scale_up"),
        ({"platform_defaults": {"enable_rdma": True}}, {}, "Lepton's endpoints know no enable_rdma"),
        ({"node_group": "gone"}, {}, "no node group 'gone'"),
    ],
)
def test_what_is_wrong_with_the_endpoint_is_told(
    bench: Bench, platform: dict[str, Any], fields: dict[str, Any], said: str
) -> None:
    job = bench.job("alpha", leaves(), deployment=served(bench.root / "server", **fields))
    assert said in told(bench, job, lepton_platform={"deployment": platform})


def test_a_folder_that_is_too_large_to_go_along_is_told(bench: Bench) -> None:
    folder = bench.root / "task"
    folder.mkdir()
    (folder / "data").write_bytes(os.urandom(1 << 20))
    assert "too large" in told(bench, bench.job("alpha", leaves(), task_dir=folder))


def test_a_refused_token_and_a_paused_workspace_are_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.double.settings.state = "paused"
    assert "the workspace is paused" in told(bench, bench.job("alpha", leaves()))
    monkeypatch.setenv("LEPTON_WORKSPACE_TOKEN", "old")
    assert "refuses the token (401)" in told(bench, bench.job("alpha", leaves()))


def test_doctor_is_told_what_the_workspace_has(bench: Bench) -> None:
    facts = dict(bench.executor().survey())
    assert "the token is accepted" in facts["workspace"]
    assert facts["node groups"] == "group-one"
    assert "0 of 16 accelerators" in facts["quota used"]


def test_what_is_shown_is_what_is_sent(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
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
    job = bench.job("alpha", leaves(), env={"SECRET": "host:SECRET"})
    shown = json.loads(executor.scripts(job, 1)["lepton_job.json"])
    attempt = executor.submit(job, 1, INVOCATION)
    sent = bench.double.requests("POST", "/jobs")[0].body
    assert "s3cret-value" not in json.dumps([shown, sent])
    for body in (shown, sent):
        body["metadata"]["labels"].pop("nel-action-invocation")
        for one in body["spec"]["envs"]:
            if one["name"] == "SECRET":
                assert one.pop("value_from")["secret_name_ref"].startswith("nel-secret-")
    assert shown == sent
    assert len(sent["metadata"]["name"]) <= 36
    assert sent["metadata"]["labels"]["nel-action-key"] == job.key
    assert sent["spec"]["queue_config"] == {"priority_class": "mid-4000", "can_preempt": False}
    assert (sent["spec"]["shared_memory_size"], sent["spec"]["max_job_failure_retry"]) == (64, 2)
    assert sent["spec"]["ttl_seconds_after_finished"] == 7 * 24 * 3600
    assert sent["spec"]["image_pull_secrets"] == ["registry"]
    assert wait(executor, [attempt])[job.key].state is JobState.SUCCEEDED


def test_results_stay_on_the_volume_and_are_read_there_where_it_is_seen(bench: Bench) -> None:
    volume = bench.double.settings.volumes["node-nfs:fs"]
    mount = {
        "from": "node-nfs:fs",
        "path": "/runs",
        "mount_path": "/mnt/volume",
        "local_path": str(volume / "runs"),
    }
    platform = {"tasks": {"mounts": (mount,)}}
    executor, job = bench.executor(lepton_platform=platform), bench.job("alpha", leaves())
    attempt = executor.submit(job, 1, INVOCATION)
    assert wait(executor, [attempt])[job.key].state is JobState.SUCCEEDED
    folder = volume / "runs" / "nel-action" / f"{job.key}-1"
    assert (folder / "artifacts" / "scores.json").is_file()
    bench.double.jobs.get(attempt.backend_id).log.lines.clear()
    executor.collect(attempt, bench.root / "home")
    assert (bench.root / "home" / "artifacts" / "scores.json").is_file()


def test_what_had_succeeded_on_the_volume_is_not_done_twice(bench: Bench) -> None:
    mount = {"from": "node-nfs:fs", "path": "/", "mount_path": "/mnt/volume"}
    ran = bench.root / "ran"
    job = bench.job("alpha", leaves(then=f"open({str(ran)!r}, 'a').write('once ')"))
    executor = bench.executor(lepton_platform={"tasks": {"mounts": (mount,)}})
    attempt = executor.submit(job, 1, INVOCATION)
    wait(executor, [attempt])
    body = bench.double.requests("POST", "/jobs")[0].body
    bench.double.jobs.delete(bench.double.jobs.get(attempt.backend_id), "alive_and_archive")
    bench.double.jobs.records.clear()
    executor.cloud.request("post", "/jobs", what="start it again", json=body)
    later = bench.executor()
    assert wait(later, [later.find([job.key])[job.key]])[job.key].state is JobState.SUCCEEDED
    assert ran.read_text() == "once "
    later.collect(attempt, bench.root / "home")


def test_data_beside_the_spec_go_along(bench: Bench) -> None:
    data = bench.root / "data"
    data.mkdir()
    (data / "items").write_text("42")
    target = bench.root / "seen" / "datasets"
    job = bench.job(
        "alpha", leaves(then=f"print(open({str(target / 'items')!r}).read())"), dataset=(str(data), str(target))
    )
    executor = bench.executor()
    attempt = executor.submit(job, 1, INVOCATION)
    assert wait(executor, [attempt])[job.key].state is JobState.SUCCEEDED
    assert "42" in list(executor.logs(attempt, follow=False))


def test_data_on_the_volume_are_mounted(bench: Bench) -> None:
    volume = bench.double.settings.volumes["node-nfs:fs"]
    (volume / "sets" / "one").mkdir(parents=True)
    (volume / "sets" / "one" / "items").write_text("43")
    mount = {"from": "node-nfs:fs", "path": "/runs", "mount_path": "/mnt/volume"}
    job = bench.job(
        "alpha", leaves(then="print(open('/mnt/datasets/items').read())"), dataset=("/sets/one", "/mnt/datasets")
    )
    executor = bench.executor(lepton_platform={"tasks": {"mounts": (mount,)}})
    attempt = executor.submit(job, 1, INVOCATION)
    assert wait(executor, [attempt])[job.key].state is JobState.SUCCEEDED
    assert "43" in list(executor.logs(attempt, follow=False))


def test_the_sdk_is_loaded_only_when_it_is_used(bench: Bench) -> None:
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


def test_the_doctor_of_a_spec_shows_the_workspace_and_what_is_wrong(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
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
    assert "no node group 'elsewhere' in the workspace" in done.output
