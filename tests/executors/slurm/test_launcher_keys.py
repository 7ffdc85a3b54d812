"""Every key of the launcher's group `execution: slurm/default` and its effect on the batch script."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import pytest
from tests.support.slurm.jobs import shell_job

from nel_action.executors.slurm.script import batch_script
from nel_action.executors.slurm.slurm_job import SlurmJob
from nel_action.spec.compose import load_spec
from nel_action.spec.deployment import GenericDeployment
from nel_action.spec.slurm import SlurmExecution

REST: Final = """\
target: {api_endpoint: {url: https://models.example/v1/chat/completions, model_id: m}}
evaluation: {tasks: [{name: quick, harness: command, command: ["true"]}]}
"""
"""The rest of the spec."""

GROUP: Final = {
    *("type", "hostname", "username", "account", "output_dir", "partition", "cpu_partition", "num_nodes"),
    *("num_instances", "ntasks_per_node", "gres", "walltime", "max_walltime", "endpoint_readiness_timeout"),
    *("subproject", "sbatch_comment", "sbatch_extra_flags", "deployment", "mounts", "proxy"),
}
"""The group's keys in release 0.2.6."""

NOT_IN_SCRIPTS: Final = {"type", "hostname", "username", "cpu_partition"}
"""Keys for the connection and for the launcher's export jobs."""

PROXY: Final = "{haproxy_port: 6000, health_check_path: /up, health_check_status: 204}"

EXPECTED: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "account": ("account: team-7", ("#SBATCH --account=team-7\n",)),
    "output_dir": ("output_dir: /scratch/me", ("#SBATCH --chdir=/scratch/me/nel-",)),
    "partition": ("partition: long", ("#SBATCH --partition=long\n",)),
    "num_nodes": ("num_nodes: 4", ("#SBATCH --nodes=4\n", "--nodes=4\n", "--ntasks=4\n", "serve server 4 1 ")),
    "num_instances": (
        "num_nodes: 4\n  num_instances: 2",
        (
            "#SBATCH --nodes=4\n",
            " --nodes=2\n",
            " --ntasks=2\n",
            "serve server 4 2 ",
            "balance server 5009 /health 200\n",
        ),
    ),
    "ntasks_per_node": ("ntasks_per_node: 8", ("#SBATCH --ntasks-per-node=8\n",)),
    "gres": ("gres: gpu:a100:4", ("#SBATCH --gres=gpu:a100:4\n",)),
    "gpus_per_node": ("gpus_per_node: 4", ("#SBATCH --gpus-per-node=4\n",)),
    "walltime": ("walltime: 04:30:00", ("#SBATCH --time=04:30:00\n", "NEL_WALLTIME=16200\n")),
    "max_walltime": ("max_walltime: 05:00:00", ("NEL_BUDGET=18000\n",)),
    "endpoint_readiness_timeout": ("endpoint_readiness_timeout: 5400", ("NEL_READY_SECONDS=5400\n",)),
    "subproject": ("subproject: nightly", ("#SBATCH --comment='nightly quick'\n",)),
    "sbatch_comment": ("sbatch_comment: a b", ("#SBATCH --comment='a b'\n",)),
    "sbatch_extra_flags": (
        "sbatch_extra_flags: {exclusive: false, switches: 1, constraint: h100 & ib, nice: null, contiguous: true}",
        ("#SBATCH --switches=1\n", "#SBATCH --constraint='h100 & ib'\n", "#SBATCH --contiguous\n"),
    ),
    "deployment": ("num_nodes: 2\n  deployment: {n_tasks: 16}", (" --nodes=2\n", " --ntasks=16\n")),
    "mounts": (
        "mounts: {deployment: {/a: /x}, evaluation: {/b: /y}, mount_home: false}",
        ("/run:/nel,/a:/x'", "/run:/nel,/b:/y'", "--no-container-mount-home\n"),
    ),
    "proxy": (
        f"num_nodes: 2\n  num_instances: 2\n  proxy: {{image: ha:3, config: {PROXY}}}",
        ("--container-image=ha:3\n", "balance server 6000 /up 204\n"),
    ),
    "evaluation_gpu_visible": ('evaluation_gpu_visible: "0,1"', ("export NVIDIA_VISIBLE_DEVICES='0,1'\n",)),
}


def settings(folder: Path, text: str) -> SlurmExecution:
    required = "".join(
        f"  {line}\n" for line in ("hostname: login", "account: a", "output_dir: /x") if line.split(":")[0] not in text
    )
    spec = folder / "spec.yaml"
    spec.write_text(f"defaults: [execution: slurm/default, _self_]\nexecution:\n{required}  {text}\n{REST}")
    execution: Any = load_spec(spec).spec.execution
    assert isinstance(execution, SlurmExecution)
    return execution


def test_every_launcher_key_is_tested() -> None:
    assert set(EXPECTED) | NOT_IN_SCRIPTS >= GROUP
    assert set(SlurmExecution.model_fields) >= GROUP


@pytest.mark.parametrize("key", EXPECTED)
def test_launcher_key_appears_in_the_script(tmp_path: Path, key: str) -> None:
    text, expected = EXPECTED[key]
    deployment = GenericDeployment(command="serve {port}", served_model_name="m", image="serve:1")
    job = shell_job(tmp_path, deployment=deployment, image="harness:1")
    script = batch_script(SlurmJob(job, 1, settings(tmp_path, text)))
    assert [part for part in expected if part not in script] == []
    assert ("#SBATCH --exclusive\n" in script) == (key != "sbatch_extra_flags")
    assert "nice" not in script


def test_defaults_are_those_of_the_launcher(tmp_path: Path) -> None:
    execution = settings(tmp_path, "username: me")
    assert (execution.partition, execution.gres, execution.walltime, execution.max_walltime) == (
        "batch",
        "gpu:8",
        "01:00:00",
        "120:00:00",
    )
    assert (execution.num_nodes, execution.num_instances, execution.ntasks_per_node) == (1, 1, 1)
    assert execution.sbatch_extra_flags == {"exclusive": True}
    assert (execution.mounts.mount_home, execution.proxy.config.haproxy_port, execution.runtime) == (
        True,
        5009,
        "pyxis",
    )
