"""Checks of a plan against the cluster before anything is submitted, in two round trips."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from nel_action.errors import Problem
from nel_action.executors.slurm.model_server import TARGET_LABEL
from nel_action.executors.slurm.remote import RemoteShell
from nel_action.executors.slurm.script import sbatch_options
from nel_action.executors.slurm.slurm_job import SlurmJob
from nel_action.executors.slurm.submission import rejection_hint
from nel_action.executors.slurm.transport import CommandResult
from nel_action.model_servers.registry import server_type
from nel_action.spec.deployment import ServedDeployment
from nel_action.spec.slurm import SlurmExecution, walltime_seconds

__all__ = ["check"]

WRITABLE: Final = 'mkdir -p "$1" && probe=$(mktemp "$1/.nel-XXXXXX") && echo probe >"$probe" && rm -f "$probe"'
TEST_ONLY: Final = 'printf %s "$1" | sbatch --test-only'
MISSING: Final = 'for path; do [ -e "$path" ] || printf "%s\\n" "$path"; done'
PYXIS: Final = "srun --help 2>&1 | grep -q -e --container-image"
PROGRAM: Final = 'PATH="$1/bin:$PATH"; command -v "$2" >/dev/null'


def check(remote: RemoteShell, settings: SlurmExecution, jobs: Sequence[SlurmJob]) -> list[Problem]:
    """Return all problems that can be detected before submission.

    Args:
        remote: the login node.
        settings: the cluster's settings.
        jobs: the plan's jobs.

    Raises:
        UnreachableError: the cluster does not answer.
    """
    problems = list(dict.fromkeys(_spec_problems(settings, jobs)))
    if not jobs:
        return problems
    partition = ["scontrol", "-o", "show", "partition", *([settings.partition] if settings.partition else [])]
    script = f"#!/bin/bash\n{sbatch_options(settings, jobs[0].directory, 'test', nodes=jobs[0].nodes)}true\n"
    limits, test, writable, missing, pyxis = remote.run(
        partition,
        ["sh", "-c", TEST_ONLY, "test-only", script],
        ["sh", "-c", WRITABLE, "writable", settings.output_dir],
        ["sh", "-c", MISSING, "missing", *_paths(settings, jobs)],
        ["sh", "-c", PYXIS] if settings.runtime == "pyxis" else ["true"],
    )
    problems += _partition_problems(limits, settings, jobs[0].nodes)
    if test.code and not problems:
        cause = _rejection_cause(test)
        problems.append(Problem(f"Slurm would reject the jobs: {cause}", hint=rejection_hint(cause)))
    if writable.code:
        hint = "check the path and its permissions (execution.output_dir)"
        message = f"cannot write to {settings.output_dir} on {remote.host}: {writable.error_line}"
        problems.append(Problem(message, hint=hint))
    hint = "paths in the spec refer to the cluster; check that the login node mounts the file system"
    problems += [Problem(f"path not found: {path} on {remote.host}", hint=hint) for path in missing.text.splitlines()]
    if pyxis.code:
        hint = "set execution.runtime to what the cluster has: apptainer, podman, charliecloud or none"
        message = f"pyxis is not installed on {remote.host}, so Slurm cannot run containers"
        problems.append(Problem(message, hint=hint))
    return problems + _missing_programs(remote, jobs)


def _spec_problems(settings: SlurmExecution, jobs: Sequence[SlurmJob]) -> Iterator[Problem]:
    """Yield the problems that are visible in the spec alone."""
    for slurm_job in jobs:
        name, image, dataset = slurm_job.job.name, slurm_job.job.image, slurm_job.dataset
        if settings.runtime == "none" and dataset and dataset[0] != dataset[1]:
            hint = f"set dataset_mount_path to {dataset[0]}, or use a container runtime"
            yield Problem(f"{name}: a dataset can be mounted at {dataset[1]} only in a container", hint=hint)
        if settings.runtime != "none" and image is None:
            hint = "set its image with container:, or set execution.runtime: none"
            yield Problem(f"{name}: no known image", hint=hint)
        yield from _server_problems(settings, slurm_job)
        images = [image, *(each.deployment.image for each in slurm_job.servers)]
        for reference in dict.fromkeys(images) if settings.runtime == "pyxis" else ():
            if reference and "@" in reference and ":" not in reference.partition("@")[0].rpartition("/")[2]:
                hint = "add its tag (name:tag@sha256:...), or use the path of an image file on the cluster"
                message = f"{reference}: pyxis ignores digests and would use the latest image"
                yield Problem(message, hint=hint)
    if settings.max_walltime and walltime_seconds(settings.max_walltime) < walltime_seconds(settings.walltime):
        yield Problem(f"max_walltime {settings.max_walltime} is shorter than walltime {settings.walltime}")


def _server_problems(settings: SlurmExecution, slurm_job: SlurmJob) -> Iterator[Problem]:
    """Yield the problems of a job's servers."""
    for each in slurm_job.servers:
        deployment = each.deployment
        yield from server_type(each.kind).check(_with_server_runtime(deployment, settings))
        title = "the model server" if each.label == TARGET_LABEL else f"the server {each.label.removeprefix('aux_')}"
        if settings.runtime != "none" and deployment.image is None:
            yield Problem(f"no known image for {title}", hint="set it with image:, or set execution.runtime: none")
        if deployment.pre_cmd and not settings.trust_commands:
            hint = "set execution.trust_commands: true if the spec's authors may run shell commands on the cluster"
            yield Problem(f"pre_cmd of {title} is a shell command and not trusted", hint=hint)


def _with_server_runtime(deployment: ServedDeployment, settings: SlurmExecution) -> ServedDeployment:
    """Return the deployment with the runtime that the server kinds distinguish: docker or process."""
    return deployment.model_copy(update={"runtime": "process" if settings.runtime == "none" else "docker"})


def _paths(settings: SlurmExecution, jobs: Sequence[SlurmJob]) -> list[str]:
    """Return all paths of the spec that must exist on the cluster."""
    paths = [*settings.mounts.deployment, *settings.mounts.evaluation]
    paths += [path for mounts in settings.mounts.auxiliary.values() for path in mounts]
    environments = [settings.environment, *settings.environments.values()] if settings.runtime == "none" else []
    paths += [path for each in environments for path in (each.path, each.setup) if path]
    for slurm_job in jobs:
        deployments = [each.deployment for each in slurm_job.servers]
        paths += [path for each in deployments for path in (each.checkpoint_path, each.cache_path) if path]
        if slurm_job.dataset and slurm_job.copied_dataset is None:
            paths.append(slurm_job.dataset[0])
    return list(dict.fromkeys(path for path in paths if Path(path).is_absolute()))


def _partition_problems(result: CommandResult, settings: SlurmExecution, nodes: int) -> list[Problem]:
    """Compare the request with the partition's limits; Slurm would accept such a job and never start it."""
    if result.code:
        return [Problem(f"unknown partition '{settings.partition}'", hint=rejection_hint("partition"))]
    lines = [line for line in result.text.splitlines() if settings.partition or " Default=YES " in line]
    if not lines:
        return [Problem("the cluster has no default partition", hint="set execution.partition")]
    fields = dict(re.findall(r"(\w+)=(\S+)", lines[0]))
    name = fields.get("PartitionName", settings.partition)
    problems = []
    max_time = fields.get("MaxTime", "UNLIMITED")
    if max_time[0].isdigit() and walltime_seconds(settings.walltime) > walltime_seconds(max_time):
        hint = f"set execution.walltime to at most {max_time}; longer jobs are continued (max_resumes)"
        message = f"walltime {settings.walltime} exceeds the limit of partition {name} ({max_time})"
        problems.append(Problem(message, hint=hint))
    counts = (fields.get("MaxNodes", "UNLIMITED"), fields.get("TotalNodes", ""))
    limit = min((int(count) for count in counts if count.isdigit()), default=0)
    if limit and nodes > limit:
        hint = f"set execution.num_nodes to at most {limit}, or choose another partition"
        problems.append(Problem(f"{nodes} nodes exceed the limit of partition {name} ({limit})", hint=hint))
    if fields.get("State", "UP") not in {"UP", "DRAIN"}:
        hint = "choose another partition, or wait"
        problems.append(Problem(f"partition {name} is {fields['State'].lower()}", hint=hint))
    return problems


def _rejection_cause(result: CommandResult) -> str:
    """Return the first line of an error of `sbatch`, without its prefix."""
    lines = result.error_text.strip().splitlines()
    causes = [re.sub(r"^(sbatch: )?(error: |allocation failure: )", "", line).strip() for line in lines]
    return next((cause for cause in causes if cause), result.error_line)


def _missing_programs(remote: RemoteShell, jobs: Sequence[SlurmJob]) -> list[Problem]:
    """Return the harness programs that are missing in the environments that the spec names by path."""
    harnesses: dict[tuple[str, str], str] = {}
    for slurm_job in jobs:
        environment = slurm_job.settings.environment_of(slurm_job.job.harness)
        complete = not environment.setup and not environment.modules
        if slurm_job.settings.runtime == "none" and environment.path and complete:
            harnesses[environment.path, slurm_job.command.argv[0]] = slurm_job.job.harness
    pairs = [pair for pair in harnesses if "/" not in pair[1]]
    if not pairs:
        return []
    results = remote.run(*(["sh", "-c", PROGRAM, "program", *pair] for pair in pairs))
    hint = "install the harness there, or name another environment (execution.environments)"
    return [
        Problem(f"{path} on {remote.host} has no {program}, which harness {harnesses[path, program]} needs", hint=hint)
        for (path, program), result in zip(pairs, results, strict=True)
        if result.code
    ]
