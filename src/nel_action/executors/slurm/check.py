"""Checks of a plan against the cluster before anything is submitted, in one round trip."""

from __future__ import annotations

import logging
import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nel_action.errors import EngineError, Problem, SpecProblem
from nel_action.executors.slurm.model_server import TARGET_LABEL
from nel_action.executors.slurm.remote import RemoteShell
from nel_action.executors.slurm.script import sbatch_options
from nel_action.executors.slurm.slurm_job import SlurmJob
from nel_action.executors.slurm.status.queue import COMMAND_NOT_FOUND
from nel_action.executors.slurm.submission import rejection_hint
from nel_action.executors.slurm.transport import CommandResult, ControllerDownError
from nel_action.model_servers.registry import server_type
from nel_action.spec.deployment import ServedDeployment
from nel_action.spec.slurm import SlurmExecution, walltime_seconds

__all__ = ["check"]

logger = logging.getLogger(__name__)

WRITABLE: Final = 'mkdir -p "$1" && probe=$(mktemp "$1/.nel-XXXXXX") && echo probe >"$probe" && rm -f "$probe"'
TEST_ONLY: Final = 'printf %s "$1" | sbatch --test-only'
MISSING: Final = 'for path; do [ -e "$path" ] || printf "%s\\n" "$path"; done'
PYXIS: Final = "srun --help 2>&1 | grep -q -e --container-image"
PROGRAMS: Final = (
    'while [ $# -gt 1 ]; do (PATH="$1/bin:$PATH"; command -v "$2" >/dev/null) || echo "$1 $2"; shift 2; done'
)

LATER: Final = re.compile("GrpSubmitJob|inactive or drain|nodes are busy|not available now|temporarily|or reserved")
"""Causes that disappear by themselves."""

NO_NODES: Final = re.compile(r"node configuration|ReqNodeNotAvail|Nodes? count", re.IGNORECASE)
"""Causes that unavailable nodes may have; with all nodes available, the request exceeds the cluster."""

REQUEST_LIMIT: Final = re.compile(r"(QOS|Assoc)\w*(PerJob|WallDuration|Cpu|Node|TRES|Mem)")
"""Limits on the size of a job, which waiting does not remove."""

ACCESS: Final = re.compile(r"account|qos|association|user", re.IGNORECASE)
"""Causes that do not depend on the requested resources."""

UNAVAILABLE: Final = re.compile(r"down|drain|drng|fail|maint|resv|reserved|unk|inval|reboot")
"""States of nodes that do not accept jobs now."""

SLURM_ERRORS: Final[Sequence[tuple[str, type[EngineError], str, str]]] = (
    (
        r"configuration source|resolve_ctls|slurm\.conf",
        EngineError,
        "Slurm finds no configuration",
        "set SLURM_CONF in a start-up file of the account, or execution.login_shell: true; sinfo must work there",
    ),
    (
        "authentication|munge|credential",
        EngineError,
        "Slurm's authentication fails",
        "sinfo must work for this account on that host; ask the cluster's administrators",
    ),
    (
        "contact|connect|timed out|zero bytes|send.recv|unavailable",
        ControllerDownError,
        "the Slurm controller does not answer",
        "nothing was submitted; try again later",
    ),
    ("", EngineError, "scontrol fails", "scontrol show partition must work there"),
)
"""Errors of Slurm's programs: pattern, class, message and hint; the first that matches."""

MAX_NAMES: Final = 8
"""Partitions in a message."""


def check(remote: RemoteShell, settings: SlurmExecution, jobs: Sequence[SlurmJob]) -> list[Problem]:
    """Return all problems that can be detected before submission.

    Only what no waiting removes is a problem. Drained nodes, reservations, a partition that is down and limits on
    submitted jobs are logged: Slurm queues such jobs, or they are submitted later.

    Args:
        remote: the login node.
        settings: the cluster's settings.
        jobs: the plan's jobs.

    Raises:
        UnreachableError: the cluster does not answer, or its configuration cannot be read.
    """
    problems: list[Problem] = list(dict.fromkeys(_spec_problems(settings, jobs)))
    if not jobs:
        return problems
    scripts = list(_test_scripts(settings, jobs))
    partitions, nodes, queue, writable, missing, pyxis, programs, *tests = remote.run(
        ["scontrol", "-a", "-o", "show", "partition"],
        ["sinfo", "-a", "-h", "-N", "-o", "%R %T"],
        ["squeue", "-h", "--me", "-o", "%i"],
        ["sh", "-c", WRITABLE, "writable", settings.output_dir],
        ["sh", "-c", MISSING, "missing", *_paths(settings, jobs)],
        ["sh", "-c", PYXIS] if settings.runtime == "pyxis" else ["true"],
        ["sh", "-c", PROGRAMS, "programs", *(part for pair in _programs(jobs) for part in pair)],
        *(["sh", "-c", TEST_ONLY, "test-only", script] for script in scripts),
    )
    if (not_found := _slurm_problem(partitions, remote.host)) is not None:
        return [*problems, not_found]
    problems += _partition_problems(partitions.text, settings, max(each.nodes for each in jobs))
    waits = Waits(unavailable=_unavailable_nodes(nodes, settings), queued=bool(queue.text.strip()))
    known = {str(problem.hint) for problem in problems}
    problems += [each for each in _rejections(tests, waits) if str(each.hint) not in known]
    if writable.code:
        problems.append(_output_dir_problem(settings, remote.host, writable))
    hint = "paths in the spec refer to the cluster; check that the login node mounts the file system"
    problems += [
        SpecProblem(f"path not found: {path} on {remote.host}", hint=hint) for path in missing.text.splitlines()
    ]
    if pyxis.code:
        hint = "set execution.runtime to what the cluster has: apptainer, podman, charliecloud or none"
        message = f"pyxis is not installed on {remote.host}, so Slurm cannot run containers"
        problems.append(SpecProblem(message, hint=hint))
    return problems + list(_missing_programs(programs.text, _programs(jobs), remote.host))


@dataclass(frozen=True, slots=True)
class Waits:
    """Conditions of the cluster under which `sbatch --test-only` fails although the jobs can wait."""

    unavailable: str
    """Nodes of the partition that are drained, down or reserved; empty if there are none."""
    queued: bool
    """Whether the user has jobs in the queue, so that a limit on submitted jobs may be reached."""

    def explain(self, cause: str) -> str | None:
        """Return why the jobs can wait although `sbatch --test-only` fails with this cause; None if they cannot."""
        if LATER.search(cause):
            return "Slurm accepts no job now"
        # NOTE: without jobs in the queue, the limit is 0: that of an account that must not be used.
        if re.search("MaxSubmitJob|job submit limit", cause) and not REQUEST_LIMIT.search(cause) and self.queued:
            return "the number of submitted jobs is limited"
        if NO_NODES.search(cause) and self.unavailable:
            return f"not available now: {self.unavailable}"
        return None


def _test_scripts(settings: SlurmExecution, jobs: Sequence[SlurmJob]) -> Iterator[str]:
    """Yield the scripts for `sbatch --test-only`: the jobs', then parts of them that show what other errors hide."""
    directory = jobs[0].directory
    for nodes in dict.fromkeys(each.nodes for each in jobs):
        yield f"#!/bin/bash\n{sbatch_options(settings, directory, 'test', nodes=nodes)}true\n"
    access = {"account": settings.account, "qos": settings.qos}
    lines = "".join(f"#SBATCH --{name}={shlex.quote(value)}\n" for name, value in access.items() if value)
    yield f"#!/bin/bash\n{lines}true\n"
    resources = settings.model_copy(update={"account": None, "qos": None})
    yield f"#!/bin/bash\n{sbatch_options(resources, directory, 'test', nodes=jobs[0].nodes)}true\n"


def _rejections(tests: Sequence[CommandResult], waits: Waits) -> Iterator[Problem]:
    """Yield the causes for which Slurm would reject the jobs.

    Args:
        tests: results of `_test_scripts`; the last two count only if another one failed.
        waits: conditions that will change.
    """
    *complete, access, resources = tests
    if not any(result.code for result in complete):
        return
    causes = [_rejection_cause(result) for result in complete if result.code]
    causes += [cause for result in (access,) if result.code and ACCESS.search(cause := _rejection_cause(result))]
    causes += [cause for result in (resources,) if result.code and not ACCESS.search(cause := _rejection_cause(result))]
    for cause in dict.fromkeys(causes):
        explanation = waits.explain(cause)
        if explanation is not None:
            logger.warning("the jobs will wait: %s (%s)", explanation, cause)
        else:
            yield SpecProblem(f"Slurm would reject the jobs: {cause}", hint=rejection_hint(cause))


def _slurm_problem(result: CommandResult, host: str) -> Problem | None:
    """Return the problem if Slurm's programs are not found; raise the errors of other failures.

    Args:
        result: result of `scontrol show partition` for all partitions.
        host: the login node.

    Raises:
        ControllerDownError: the controller does not answer.
        EngineError: Slurm does not work on the login node.
    """
    if result.code == COMMAND_NOT_FOUND:
        hint = "set execution.bin_dir to their directory, or execution.login_shell: true if Slurm is a module"
        return SpecProblem(f"Slurm's programs are not in the PATH of commands on {host} (no scontrol)", hint=hint)
    if not result.code:
        return None
    text = result.error_text
    _, error, message, hint = next(row for row in SLURM_ERRORS if re.search(row[0], text, re.IGNORECASE))
    msg = f"{message} on {host}: {result.error_line}"
    raise error(msg, hint=hint)


def _output_dir_problem(settings: SlurmExecution, host: str, result: CommandResult) -> Problem:
    """Return the problem of an output directory that cannot be written."""
    message = f"cannot write to {settings.output_dir} on {host}: {result.error_line}"
    if re.search(r"no space|quota", result.error_text, re.IGNORECASE):
        return Problem(message, hint="check the free space and your quota on the file system of execution.output_dir")
    return SpecProblem(message, hint="check the path and its permissions (execution.output_dir)")


def _unavailable_nodes(result: CommandResult, settings: SlurmExecution) -> str:
    """Return a summary of the nodes that are drained, down or reserved (`2 drained, 1 maint`)."""
    names = (settings.partition or "").split(",")
    counts: dict[str, int] = {}
    for line in result.text.splitlines():
        partition, _, text = line.partition(" ")
        state = re.sub(r"[^a-z_].*", "", text)
        if (settings.partition is None or partition in names) and UNAVAILABLE.match(state):
            counts[state] = counts.get(state, 0) + 1
    return ", ".join(f"{count} {state}" for state, count in sorted(counts.items()))


def _spec_problems(settings: SlurmExecution, jobs: Sequence[SlurmJob]) -> Iterator[Problem]:
    """Yield the problems that are visible in the spec alone."""
    for slurm_job in jobs:
        name, image, dataset = slurm_job.job.name, slurm_job.job.image, slurm_job.dataset
        if settings.runtime == "none" and dataset and dataset[0] != dataset[1]:
            hint = f"set dataset_mount_path to {dataset[0]}, or use a container runtime"
            yield SpecProblem(f"{name}: a dataset can be mounted at {dataset[1]} only in a container", hint=hint)
        if settings.runtime != "none" and image is None:
            hint = "set its image with container:, or set execution.runtime: none"
            yield SpecProblem(f"{name}: no known image", hint=hint)
        yield from _server_problems(settings, slurm_job)
        images = [image, *(each.deployment.image for each in slurm_job.servers)]
        for reference in dict.fromkeys(images) if settings.runtime == "pyxis" else ():
            if reference and "@" in reference and ":" not in reference.partition("@")[0].rpartition("/")[2]:
                hint = "add its tag (name:tag@sha256:...), or use the path of an image file on the cluster"
                message = f"{reference}: pyxis ignores digests and would use the latest image"
                yield SpecProblem(message, hint=hint)
    if settings.max_walltime and walltime_seconds(settings.max_walltime) < walltime_seconds(settings.walltime):
        yield SpecProblem(f"max_walltime {settings.max_walltime} is shorter than walltime {settings.walltime}")


def _server_problems(settings: SlurmExecution, slurm_job: SlurmJob) -> Iterator[Problem]:
    """Yield the problems of a job's servers."""
    for each in slurm_job.servers:
        deployment = each.deployment
        yield from server_type(each.kind).check(_with_server_runtime(deployment, settings))
        title = "the model server" if each.label == TARGET_LABEL else f"the server {each.label.removeprefix('aux_')}"
        if settings.runtime != "none" and deployment.image is None:
            yield SpecProblem(f"no known image for {title}", hint="set it with image:, or set execution.runtime: none")
        if deployment.pre_cmd and not settings.trust_commands:
            hint = "set execution.trust_commands: true if the spec's authors may run shell commands on the cluster"
            yield SpecProblem(f"pre_cmd of {title} is a shell command and not trusted", hint=hint)


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


def _partition_problems(text: str, settings: SlurmExecution, nodes: int) -> list[Problem]:
    """Compare the request with the partition's limits; Slurm would accept such a job and never start it.

    Args:
        text: the cluster's partitions, one per line.
        settings: the cluster's settings; several partitions are separated by commas, and one has to suffice.
        nodes: the largest number of nodes of a job.
    """
    rows = [dict(re.findall(r"(\w+)=(\S+)", line)) for line in text.splitlines()]
    partitions = {row["PartitionName"]: row for row in rows if "PartitionName" in row}
    if settings.partition is None:
        names = [name for name, row in partitions.items() if row.get("Default") == "YES"]
        if not names:
            return [SpecProblem("the cluster has no default partition", hint="set execution.partition")]
    else:
        names = settings.partition.split(",")
    if unknown := [name for name in names if name not in partitions]:
        nearest = ", ".join(sorted(partitions)[:MAX_NAMES])
        hint = f"check execution.partition; the cluster has {nearest}"
        return [SpecProblem(f"unknown partition '{name}'", hint=hint) for name in unknown]
    by_partition = [_limit_problems(partitions[name], settings, nodes) for name in names]
    return by_partition[0] if all(by_partition) else []


def _limit_problems(row: dict[str, str], settings: SlurmExecution, nodes: int) -> list[Problem]:
    """Return the limits of a partition that the request exceeds."""
    name, problems = row["PartitionName"], list[Problem]()
    max_time = row.get("MaxTime", "UNLIMITED")
    with suppress(ValueError):  # UNLIMITED
        if walltime_seconds(settings.walltime) > walltime_seconds(max_time):
            hint = f"set execution.walltime to at most {max_time}; longer jobs are continued (max_resumes)"
            message = f"walltime {settings.walltime} exceeds the limit of partition {name} ({max_time})"
            problems.append(SpecProblem(message, hint=hint))
    counts = (row.get("MaxNodes", "UNLIMITED"), row.get("TotalNodes", ""))
    limit = min((int(count) for count in counts if count.isdigit()), default=0)
    if limit and nodes > limit:
        hint = f"set execution.num_nodes to at most {limit}, or choose another partition"
        problems.append(SpecProblem(f"{nodes} nodes exceed the limit of partition {name} ({limit})", hint=hint))
    if row.get("State", "UP") != "UP":
        logger.warning("the jobs will wait: partition %s is %s", name, row["State"].lower())
    return problems


def _rejection_cause(result: CommandResult) -> str:
    """Return the messages of `sbatch`, without their prefixes."""
    lines = result.error_text.strip().splitlines()
    causes = [re.sub(r"^(sbatch: )?(error: )?(allocation failure: )?", "", line).strip() for line in lines]
    return "; ".join(dict.fromkeys(cause for cause in causes if cause)) or result.error_line


def _programs(jobs: Sequence[SlurmJob]) -> dict[tuple[str, str], str]:
    """Return the harnesses by environment and program, for environments that the spec names by path alone."""
    harnesses: dict[tuple[str, str], str] = {}
    for slurm_job in jobs:
        environment = slurm_job.settings.environment_of(slurm_job.job.harness)
        complete = not environment.setup and not environment.modules
        program = slurm_job.command.argv[0]
        if slurm_job.settings.runtime == "none" and environment.path and complete and "/" not in program:
            harnesses[environment.path, program] = slurm_job.job.harness
    return harnesses


def _missing_programs(text: str, harnesses: Mapping[tuple[str, str], str], host: str) -> Iterator[Problem]:
    """Yield the programs that are missing in the environments.

    Args:
        text: output of `PROGRAMS`.
        harnesses: harnesses by environment and program.
        host: the login node.
    """
    lines = set(text.splitlines())
    hint = "install the harness there, or name another environment (execution.environments)"
    for (path, program), name in harnesses.items():
        if f"{path} {program}" in lines:
            yield SpecProblem(f"{path} on {host} has no {program}, which harness {name} needs", hint=hint)
