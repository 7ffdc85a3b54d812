"""Steps for every container runtime and kind of server, compared with reviewed snapshots."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.support.slurm.jobs import shell_job
from tests.support.slurm.settings import slurm_settings
from tests.support.snapshots import assert_snapshot

from nel_action.executors.slurm.script import batch_script
from nel_action.executors.slurm.slurm_job import SlurmJob
from nel_action.executors.slurm.steps import balancer_step, evaluation_step, server_step
from nel_action.model.job import Key
from nel_action.spec.deployment import ServedDeployment
from nel_action.spec.execution import Mounts
from nel_action.spec.model import Spec

STORED = Path(__file__).with_name("stored")
SIZES = {"tensor_parallel_size": 4, "pipeline_parallel_size": 2}
DATA = {"data_parallel_size": 2}
SERVERS: dict[str, dict[str, Any]] = {
    "vllm": {"checkpoint_path": "/models/acme 7b", **SIZES, **DATA, "extra_args": "--max-model-len '8 192'"},
    "vllm_ray": {"hf_model_handle": "acme/model-1", **SIZES, **DATA},
    "sglang": {"checkpoint_path": "/models/acme", **SIZES, **DATA},
    "trtllm": {"checkpoint_path": "/models/acme", **SIZES},
    "nim": {"env_vars": {"NIM_TENSOR_PARALLEL_SIZE": "lit:4", "NGC_API_KEY": "host:NGC_API_KEY"}},
    "generic": {"command": "serve --tp 4 --pp 2 --dp 2 --listen {host}:{port} --model {checkpoint} {work_dir}/x.json"},
}


def parse(deployment: dict[str, Any], **sections: Any) -> Spec:  # noqa: ANN401
    defaults = {"served_model_name": "acme-7b", "image": "registry.example/server:1.0"} if deployment else {}
    spec = {"deployment": {**defaults, **deployment}, **sections}
    return Spec.model_validate_json(json.dumps(spec))


def slurm_job(folder: Path, runtime: str, spec: Spec, **fields: Any) -> SlurmJob:  # noqa: ANN401
    settings = slurm_settings(None, output_dir="/scratch/runs", runtime=runtime, **fields)
    job = shell_job(
        folder,
        key=Key("nel-0123456789abcdef"),
        image="registry.example:5000/acme/harness:2@sha256:" + "0" * 64,
        deployment=spec.deployment,
        auxiliary=spec.auxiliary_deployments,
        env={"MODEL_API_KEY": "host:KEY"},
        dataset=("/data/items", "/datasets"),
    )
    return SlurmJob(job, 1, settings)


@pytest.mark.parametrize("runtime", ["pyxis", "apptainer", "podman", "charliecloud", "none"])
def test_runtime_gets_image_mounts_and_variables(tmp_path: Path, runtime: str) -> None:
    spec = parse({"type": "vllm", "checkpoint_path": "/models/acme", "cache_path": "/cache/hf"})
    mounts = Mounts(deployment={"/shared/a": "/a"}, evaluation={"/shared/b": "/b:ro"}, mount_home=runtime == "podman")
    job = slurm_job(
        tmp_path,
        runtime,
        spec,
        mounts=mounts,
        gres="gpu:8",
        num_nodes=2,
        num_instances=2,
        mpi="pmix",
        evaluation_gpu_visible="0,1",
        runtime_args={"podman": ("--root", "/scratch/p", "--", "--ipc=host")}.get(runtime, ()),
    )
    text = "\n".join([server_step(job, job.servers[0]), balancer_step(job), evaluation_step(job)])
    assert_snapshot(text, STORED / f"runtime_{runtime}.sh")


@pytest.mark.parametrize("kind", SERVERS)
def test_server_gets_its_parallel_sizes(tmp_path: Path, kind: str) -> None:
    spec = parse({"type": kind, **SERVERS[kind]})
    job = slurm_job(tmp_path, "pyxis", spec, num_nodes=2, gres="gpu:8")
    assert isinstance(spec.deployment, ServedDeployment)
    assert_snapshot(server_step(job, job.servers[0]), STORED / f"server_{kind}.sh")


def test_judge_gets_nodes_and_variables_of_its_own(tmp_path: Path) -> None:
    judge = {"type": "vllm", "hf_model_handle": "acme/judge", "served_model_name": "judge-1", "image": "judge:1"}
    spec = parse(
        {"type": "vllm", "hf_model_handle": "acme/model-1"},
        auxiliary_deployments={"strict-judge": {**judge, "num_nodes": 4, "num_instances": 2, "env_prefix": "JUDGE"}},
    )
    job = slurm_job(tmp_path, "pyxis", spec, mounts=Mounts(auxiliary={"strict-judge": {"/shared/j": "/j"}}))
    judges = job.servers[1]
    assert job.nodes == 5
    assert (judges.label, judges.nodes, judges.instances, judges.tasks) == ("aux_strict_judge", 4, 2, 2)
    text = (
        server_step(job, judges)
        + batch_script(job).partition("# ---- Start the servers: all")[2].partition("# ---- Eval")[0]
    )
    assert_snapshot(text, STORED / "judge.sh")
    assert "#SBATCH --nodes=5\n" in batch_script(job)


def test_references_to_a_judge_are_substituted_in_the_task(tmp_path: Path) -> None:
    judge = {"type": "generic", "command": "serve {port}", "served_model_name": "judge-1", "image": "judge:1"}
    spec = parse({}, auxiliary_deployments={"judge": judge})
    job = slurm_job(tmp_path, "none", spec)
    command = ("ask", "auxiliary_deployments.judge.chat_url", "as auxiliary_deployments.judge.model_id")
    job = replace(job, job=replace(job.job, task=replace(job.job.task, command=command)))
    argv = job.command.argv
    address = job.servers[0].address_placeholder
    assert argv == ("ask", f"http://{address}/v1/chat/completions", "as judge-1")
    assert "JUDGE_EMBEDDING_URL" in job.evaluation_names
    text = f"aux_judge_address=node7:8123 here=x\n{evaluation_step(job)}\ncommand_of_evaluation\n"
    text += 'printf "%s\\n" "${STEP[@]}"'
    output = subprocess.run(["bash", "-c", text], capture_output=True, text=True, check=True).stdout
    assert "http://node7:8123/v1/chat/completions" in output
