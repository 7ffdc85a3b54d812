"""What would keep a plan from running on a cluster, asked before anything is submitted, in two round trips."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from nel_action.errors import Problem
from nel_action.executors.slurm.header import header
from nel_action.executors.slurm.model_server import MODEL, server_kind
from nel_action.executors.slurm.remote import Remote
from nel_action.executors.slurm.slurm_job import BoundJob
from nel_action.executors.slurm.submit import hint_for
from nel_action.executors.slurm.transport import Finished
from nel_action.spec.deployment import ServedDeployment
from nel_action.spec.slurm import SlurmExecution, walltime_seconds

__all__ = ["check"]

WRITABLE: Final = 'mkdir -p "$1" && probe=$(mktemp "$1/.nel-XXXXXX") && echo probe >"$probe" && rm -f "$probe"'
TEST_ONLY: Final = 'printf %s "$1" | sbatch --test-only'
ABSENT: Final = 'for path; do [ -e "$path" ] || printf "%s\\n" "$path"; done'
PYXIS: Final = "srun --help 2>&1 | grep -q -e --container-image"
PROGRAM: Final = 'PATH="$1/bin:$PATH"; command -v "$2" >/dev/null'


def check(remote: Remote, settings: SlurmExecution, jobs: Sequence[BoundJob]) -> list[Problem]:
    """Return everything that is wrong, as far as it can be seen.

    Raises:
        UnreachableError: the cluster does not answer.
    """
    found = list(dict.fromkeys(_by_spec(settings, jobs)))
    if not jobs:
        return found
    partition = ["scontrol", "-o", "show", "partition", *([settings.partition] if settings.partition else [])]
    text = f"#!/bin/bash\n{header(settings, jobs[0].place, 'test', nodes=jobs[0].nodes)}true\n"
    limits, tested, writable, absent, pyxis = remote.run(
        partition,
        ["sh", "-c", TEST_ONLY, "test-only", text],
        ["sh", "-c", WRITABLE, "writable", settings.output_dir],
        ["sh", "-c", ABSENT, "absent", *_paths(settings, jobs)],
        ["sh", "-c", PYXIS] if settings.runtime == "pyxis" else ["true"],
    )
    found += _limits(limits, settings, jobs[0].nodes)
    if tested.code and not found:
        why = _last_words(tested)
        found.append(Problem(f"Slurm would refuse the jobs: {why}", hint=hint_for(why)))
    if writable.code:
        hint = "check the path and who may write there (execution.output_dir)"
        found.append(
            Problem(f"cannot write to {settings.output_dir} on {remote.place}: {writable.complaint}", hint=hint)
        )
    hint = "paths in the spec are the cluster's; is it mounted on the login node?"
    found += [Problem(f"{path} is not there on {remote.place}", hint=hint) for path in absent.text.splitlines()]
    if pyxis.code:
        hint = "set execution.runtime to what the cluster has: apptainer, podman, charliecloud or none"
        found.append(
            Problem(f"Slurm on {remote.place} runs no containers by itself: pyxis is not installed", hint=hint)
        )
    return found + _programs(remote, jobs)


def _by_spec(settings: SlurmExecution, jobs: Sequence[BoundJob]) -> Iterator[Problem]:
    """Find what needs no cluster."""
    for job in jobs:
        if settings.runtime == "none" and job.dataset and job.dataset[0] != job.dataset[1]:
            hint = f"set dataset_mount_path to {job.dataset[0]}, or use a container runtime"
            yield Problem(
                f"{job.job.name}: without a container its data cannot be mounted at {job.dataset[1]}", hint=hint
            )
        if settings.runtime != "none" and job.job.image is None:
            hint = "name its image with container:, or set execution.runtime: none"
            yield Problem(f"{job.job.name}: no image is known for it", hint=hint)
        yield from _servers(settings, job)
        images = [job.job.image, *(one.deployment.image for one in job.services)]
        for image in dict.fromkeys(images) if settings.runtime == "pyxis" else ():
            if image and "@" in image and ":" not in image.partition("@")[0].rpartition("/")[2]:
                hint = "write its tag as well (name:tag@sha256:...), or the path of an image file on the cluster"
                yield Problem(f"{image}: pyxis knows no digests, and would take the newest", hint=hint)
    if settings.max_walltime and walltime_seconds(settings.max_walltime) < walltime_seconds(settings.walltime):
        yield Problem(f"max_walltime ({settings.max_walltime}) is less than walltime ({settings.walltime})")


def _servers(settings: SlurmExecution, job: BoundJob) -> Iterator[Problem]:
    """Ask each kind of server what it lacks."""
    for one in job.services:
        yield from server_kind(one.kind).check(_where_it_runs(one.deployment, settings))
        what = "the model's server" if one.label == MODEL else f"the server {one.label.removeprefix('aux_')}"
        if settings.runtime != "none" and one.deployment.image is None:
            yield Problem(f"no image is known for {what}", hint="name it with image:, or set execution.runtime: none")
        if one.deployment.pre_cmd and not settings.trust_commands:
            hint = "set execution.trust_commands: true if the spec's authors may run shell text there"
            yield Problem(f"the pre_cmd of {what} is shell text, which is not run unless it is trusted", hint=hint)


def _where_it_runs(deployment: ServedDeployment, settings: SlurmExecution) -> ServedDeployment:
    """Return the deployment with its runtime in the words of servers: a container, or a plain process."""
    return deployment.model_copy(update={"runtime": "process" if settings.runtime == "none" else "docker"})


def _paths(settings: SlurmExecution, jobs: Sequence[BoundJob]) -> list[str]:
    """Return every path that must be there."""
    mounts = [*settings.mounts.deployment, *settings.mounts.evaluation]
    mounts += [path for each in settings.mounts.auxiliary.values() for path in each]
    own = [settings.environment, *settings.environments.values()] if settings.runtime == "none" else []
    found = [*mounts, *(path for one in own for path in (one.path, one.setup) if path)]
    for job in jobs:
        deployments = [one.deployment for one in job.services]
        found += [path for one in deployments for path in (one.checkpoint_path, one.cache_path) if path]
        if job.dataset and job.copied_dataset is None:
            found.append(job.dataset[0])
    return list(dict.fromkeys(path for path in found if Path(path).is_absolute()))


def _limits(answer: Finished, settings: SlurmExecution, wanted: int) -> list[Problem]:
    """Hold what is asked for against the partition's limits; Slurm takes such a job and never starts it."""
    if answer.code:
        return [Problem(f"there is no partition '{settings.partition}'", hint=hint_for("partition"))]
    lines = [line for line in answer.text.splitlines() if settings.partition or " Default=YES " in line]
    if not lines:
        return [Problem("the cluster has no default partition", hint="name one with execution.partition")]
    fields = dict(re.findall(r"(\w+)=(\S+)", lines[0]))
    name = fields.get("PartitionName", settings.partition)
    found = []
    limit = fields.get("MaxTime", "UNLIMITED")
    if limit[0].isdigit() and walltime_seconds(settings.walltime) > walltime_seconds(limit):
        hint = f"set execution.walltime to at most {limit}; jobs that need longer are continued (max_resumes)"
        found.append(Problem(f"walltime {settings.walltime} is more than partition {name} gives ({limit})", hint=hint))
    nodes = fields.get("MaxNodes", "UNLIMITED")
    most = min(int(count) for count in (nodes, fields.get("TotalNodes", "")) if count.isdigit()) if nodes else 0
    if most and wanted > most:
        hint = f"set execution.num_nodes to at most {most}, or choose another partition"
        found.append(Problem(f"{wanted} nodes are more than partition {name} gives ({most})", hint=hint))
    if fields.get("State", "UP") not in {"UP", "DRAIN"}:
        found.append(Problem(f"partition {name} is {fields['State'].lower()}", hint="choose another, or wait"))
    return found


def _last_words(answer: Finished) -> str:
    lines = answer.err.decode(errors="replace").strip().splitlines()
    told = [re.sub(r"^(sbatch: )?(error: |allocation failure: )", "", line).strip() for line in lines]
    return next((line for line in told if line), answer.complaint)


def _programs(remote: Remote, jobs: Sequence[BoundJob]) -> list[Problem]:
    """Look for the harnesses' programs in the environments that the spec names by path."""
    wanted: dict[tuple[str, str], str] = {}
    for job in jobs:
        own = job.settings.environment_of(job.job.harness)
        if job.settings.runtime == "none" and own.path and not own.setup and not own.modules:
            wanted[own.path, job.command.argv[0]] = job.job.harness
    pairs = [pair for pair in wanted if "/" not in pair[1]]
    if not pairs:
        return []
    answers = remote.run(*(["sh", "-c", PROGRAM, "program", *pair] for pair in pairs))
    hint = "install the harness into it, or name another environment (execution.environments)"
    return [
        Problem(f"{path} on {remote.place} has no {program}, which harness {wanted[path, program]} runs", hint=hint)
        for (path, program), answer in zip(pairs, answers, strict=True)
        if answer.code
    ]
