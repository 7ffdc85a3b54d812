"""Batch scripts as text: accepted by `bash -n` and shellcheck, with every argument quoted."""

from __future__ import annotations

import base64
import json
import os
import subprocess
import time
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from tests.support.slurm.jobs import shell_job
from tests.support.slurm.scripts import shellcheck
from tests.support.slurm.settings import slurm_settings

from nel_action.executors.slurm.archive import secrets_text
from nel_action.executors.slurm.script import batch_script
from nel_action.executors.slurm.shell import LOGIN_BASH, template
from nel_action.executors.slurm.slurm_job import SlurmJob
from nel_action.planning.jobs import Job
from nel_action.spec.deployment import GenericDeployment
from nel_action.spec.gateway import Gateway
from nel_action.spec.slurm import ClusterEnvironment, SlurmExecution
from nel_action.spec.target import ApiEndpoint, Target

pytestmark = pytest.mark.slow

SERVED = GenericDeployment(command="serve --port {port}", served_model_name="acme-7b", image="acme/serve:1")
HOSTILE = "a b\"c'd$(touch /tmp/pwned)`id`;\\"


def slurm_job(folder: Path, settings: SlurmExecution | None = None, **fields: Any) -> SlurmJob:  # noqa: ANN401
    return SlurmJob(shell_job(folder, **fields), 1, settings or slurm_settings(None, output_dir="/scratch/runs"))


@pytest.mark.parametrize(
    ("fields", "served"),
    [
        ({}, False),
        ({"max_resumes": 3, "walltime": "04:00:00"}, False),
        ({"environment": ClusterEnvironment(path="/envs/a", modules=("python/3.11",), setup="/envs/setup.sh")}, False),
        ({}, True),
        ({"num_nodes": 4, "num_instances": 2, "gres": "gpu:8", "mpi": "pmix"}, True),
        ({"runtime": "pyxis"}, True),
        ({"runtime": "apptainer", "num_nodes": 2, "num_instances": 2}, True),
        ({"runtime": "podman"}, True),
        ({"runtime": "charliecloud"}, True),
    ],
)
@pytest.mark.parametrize("gateway", [None, Gateway()])
def test_batch_script_passes_shellcheck(
    tmp_path: Path,
    fields: dict[str, object],
    served: bool,  # noqa: FBT001
    gateway: Gateway | None,
) -> None:
    settings = slurm_settings(None, output_dir="/scratch/my runs", **fields)
    deployed = {"deployment": SERVED} if served else {}
    target = Target(api_endpoint=ApiEndpoint(url="https://host/v1/chat/completions", model_id="m", api_key_name="K"))
    more = {"gateway": gateway, "target": target, **deployed}
    text = batch_script(
        slurm_job(tmp_path, settings, env={"A": "runtime:B", "K": "host:K"}, image="acme/harness:2", **more)
    )
    assert shellcheck(text, tmp_path / "job.sh") == ""


@pytest.mark.parametrize("name", ["submit.sh", "find.sh", "cancel.sh", "collect.sh", "sweep.sh", "close_record.sh"])
def test_login_node_script_passes_shellcheck(tmp_path: Path, name: str) -> None:
    text = files("nel_action.executors.slurm").joinpath("templates", name).read_text("utf-8")
    masking = {"cancel.sh", "collect.sh", "sweep.sh"}
    text = template("05_mask.sh") + text if name in masking else text
    assert shellcheck(text, tmp_path / name, dialect="bash" if name in masking else "sh") == ""


def test_batch_script_quotes_hostile_settings(tmp_path: Path) -> None:
    settings = slurm_settings(
        None,
        output_dir="/scratch/a b",
        account=HOSTILE,
        partition=HOSTILE,
        sbatch_comment=HOSTILE,
        sbatch_extra_flags={"constraint": HOSTILE, "exclusive": True, "mem": 0, "nice": None, "oversubscribe": False},
    )
    job = slurm_job(tmp_path, settings, name="quick", model=f"x\n{HOSTILE}\n#SBATCH --wrap=id")
    text = batch_script(job)
    lines = [line for line in text.splitlines() if line.startswith("#SBATCH")]
    assert sum("touch /tmp/pwned" in line for line in lines) == 4
    assert not any("--wrap" in line for line in lines)
    assert "#SBATCH --exclusive\n" in text
    assert "#SBATCH --mem=0\n" in text
    assert "nice" not in text
    assert "oversubscribe" not in text
    assert shellcheck(text, tmp_path / "job.sh") == ""


@pytest.mark.parametrize("flag", ["output", "job-name", "array", "Bad Flag", "x\ny"])
def test_reserved_sbatch_flags_are_rejected(flag: str) -> None:
    with pytest.raises(ValueError, match="sbatch_extra_flags"):
        slurm_settings(None, output_dir="/x", sbatch_extra_flags={flag: "1"})


def test_secrets_are_in_the_secrets_file_only(tmp_path: Path) -> None:
    job = slurm_job(tmp_path, env={"MODEL_API_KEY": "host:MODEL_API_KEY", "MODE": "lit:plain-but-perhaps-secret"})
    text = batch_script(job)
    assert "plain-but-perhaps-secret" not in text
    secrets = secrets_text(job, {"MODEL_API_KEY": HOSTILE + "\nsecond line"})
    (tmp_path / "secrets").write_text(secrets)
    argv = ["bash", "-c", '. "$0"; secrets_of_evaluation; printf %s "$MODEL_API_KEY|$MODE"', str(tmp_path / "secrets")]
    output = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert output == f"{HOSTILE}\nsecond line|plain-but-perhaps-secret"
    assert not Path("/tmp/pwned").exists()  # noqa: S108 the file that HOSTILE would create


def test_batch_script_is_deterministic(tmp_path: Path) -> None:
    job: Job = shell_job(tmp_path)
    settings = slurm_settings(None, output_dir="/scratch")
    assert batch_script(SlurmJob(job, 2, settings)) == batch_script(SlurmJob(job, 2, settings))
    assert "attempt 2" in batch_script(SlurmJob(job, 2, settings))


def test_sweep_removes_records_after_their_days_and_keeps_those_of_needed_keys(tmp_path: Path) -> None:
    programs = tmp_path / "bin"
    programs.mkdir()
    (programs / "squeue").write_text("#!/bin/sh\necho nel-3333333333333333-1\n")
    (programs / "squeue").chmod(0o755)
    for digit in "1234":
        record = tmp_path / "out" / "record" / f"nel-{digit * 16}" / "1"
        record.mkdir(parents=True)
        (record / "keep_days").write_text("2\n")
        age = time.time() - (1 if digit == "4" else 3) * 86_400
        for path in (record / "keep_days", record):
            os.utime(path, (age, age))
    script = template("05_mask.sh") + template("sweep.sh")
    argv = [*LOGIN_BASH, script, "sweep.sh", str(tmp_path / "out"), "0", "nel-2222222222222222"]
    subprocess.run(argv, env={**os.environ, "PATH": f"{programs}:{os.environ['PATH']}"}, check=True)
    kept = sorted(path.name for path in (tmp_path / "out" / "record").iterdir())
    assert kept == ["nel-2222222222222222", "nel-3333333333333333", "nel-4444444444444444"]


SECRET = "k3y-of the-model=="
KILLED = (
    ("collect.sh", ("attempt",)),
    ("cancel.sh", ("finish", "attempt")),
    ("sweep.sh", (".", "0")),
)


@pytest.mark.parametrize(("name", "arguments"), KILLED, ids=lambda value: str(value)[:10])
def test_next_command_masks_the_logs_of_a_job_that_was_killed(
    tmp_path: Path, name: str, arguments: tuple[str, ...]
) -> None:
    key = f"nel-{'1' * 16}-1"
    attempt = tmp_path / key
    for folder in ("logs", "state"):
        (attempt / folder).mkdir(parents=True)
    encoded = base64.b64encode(f"user:{SECRET}".encode()).decode()
    forms = [SECRET, encoded, quote(SECRET, safe=""), SECRET.encode().hex(), json.dumps("second\tline")[1:-1]]
    for log in ("client.log", "server-0.log", "aux_judge.log"):
        (attempt / "logs" / log).write_text("".join(f"before {form} after\n" for form in forms) + "plain\n")
    (attempt / "state/exit.json").write_text("{}")
    job = slurm_job(tmp_path, env={"K": "host:K", "L": "host:L", "P": "lit:plain"})
    secrets = attempt / ".secrets.env"
    secrets.write_text(secrets_text(job, {"K": SECRET, "L": "first line\nsecond\tline"}))
    os.utime(secrets, (0, 0))
    (tmp_path / "squeue").write_text("#!/bin/sh\n")
    (tmp_path / "squeue").chmod(0o755)
    argv = [*LOGIN_BASH, template("05_mask.sh") + template(name), name]
    environ = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    paths = [key if argument == "attempt" else argument for argument in arguments]
    subprocess.run([*argv, *paths], cwd=tmp_path, env=environ, check=True, capture_output=True)
    for file in (attempt / "logs").iterdir():
        *lines, last = file.read_text().splitlines()
        assert last == "plain"
        assert len(lines) == len(forms)
        assert not [form for form in forms if form in file.read_text()]
    assert not secrets.exists()


def test_variables_of_the_node_are_masked_where_the_job_runs(tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/client.log").write_text("token of-the-node, again of-the-node\n")
    (tmp_path / ".secrets.env").write_text(secrets_text(slurm_job(tmp_path, env={"K": "runtime:NODE_TOKEN"}), {}))
    script = template("05_mask.sh") + '. ./.secrets.env; mask_logs "$PWD"'
    environ = {**os.environ, "NODE_TOKEN": "of-the-node"}
    subprocess.run(["bash", "-c", script], cwd=tmp_path, env=environ, check=True)
    assert (tmp_path / "logs/client.log").read_text() == "token ***, again ***\n"
