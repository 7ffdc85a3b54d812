"""What would keep a plan from running on this machine, found before anything is spent."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from nel_action.errors import EngineError, NelActionError, Problem, UsageError
from nel_action.executors.interface import ExecutorContext
from nel_action.executors.local.auxiliary import further_deployments
from nel_action.executors.local.docker.arguments import parse
from nel_action.executors.local.docker.engine import engine
from nel_action.executors.local.docker.images import missing
from nel_action.executors.local.model_server.serving import server_kind
from nel_action.executors.virtualenvs import find_uv
from nel_action.planning.jobs import Job, Plan
from nel_action.spec.deployment import ServedDeployment
from nel_action.spec.execution import LocalExecution

if TYPE_CHECKING:
    from docker import DockerClient

__all__ = ["check", "runtimes"]

ONLY_CONTAINERS: Final = ("memory", "cpus", "extra_docker_args", "mounts")
"""Settings that nothing but a container obeys."""


def check(plan: Plan, settings: LocalExecution, workspace: ExecutorContext) -> list[Problem]:
    """Return everything that is wrong."""
    used = runtimes(plan.jobs, settings)
    problems = [*_home(workspace.home), *_servers(plan.jobs, settings)]
    if "process" in used:
        problems += _processes(plan.jobs, workspace.environ)
    if "docker" in used:
        problems += [*_settings(settings, workspace.base_dir), *_containers(plan.jobs, settings, workspace.environ)]
    else:
        problems += _unobeyed(settings)
    return problems


def runtimes(jobs: Iterable[Job], settings: LocalExecution) -> set[str]:
    """Return which runtimes harnesses and servers use."""
    served = [one for job in jobs for one in _served(job).values()]
    return {settings.runtime} | {deployment.runtime or settings.runtime for deployment in served}


def _served(job: Job) -> dict[str, ServedDeployment]:
    """Return each server of a job by the key under which the spec has it."""
    further = {f"auxiliary_deployments.{name}": one for name, one in further_deployments(job).items()}
    return ({"deployment": job.deployment} if isinstance(job.deployment, ServedDeployment) else {}) | further


def _home(home: Path) -> Iterator[Problem]:
    try:
        (home / "local").mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        hint = "set NEL_ACTION_HOME to a folder that this user may write to"
        yield Problem(f"cannot use {home}: {error.strerror or error}", hint=hint)


def _servers(jobs: Iterable[Job], settings: LocalExecution) -> Iterator[Problem]:
    """Ask each kind of server what it lacks; all jobs of a plan have the same ones."""
    for key, deployment in next((_served(job) for job in jobs), {}).items():
        for problem in server_kind(deployment).check(deployment):
            message = problem.message if key == "deployment" else f"{key}: {problem.message}"
            yield Problem(message, problem.location, problem.hint)
        if deployment.pre_cmd and not settings.trust_commands:
            hint = "set execution.trust_commands: true if the spec's authors may run shell text here"
            yield Problem(f"{key}.pre_cmd is shell text, which is not run unless it is trusted", hint=hint)
        if (deployment.runtime or settings.runtime) == "docker" and deployment.image is None:
            yield Problem(f"{key}.image is missing: the server's image", hint=f"or set {key}.runtime: process")
        if max(getattr(deployment, "num_nodes", 1), getattr(deployment, "num_instances", 1)) > 1:
            hint = "leave num_nodes and num_instances at 1, or run on Slurm"
            yield Problem(f"{key} asks for several machines, and this is one", hint=hint)


def _processes(jobs: Iterable[Job], environ: Mapping[str, str]) -> Iterator[Problem]:
    if any(job.requirements or _served(job) for job in jobs):
        try:
            find_uv(environ)
        except EngineError as error:
            yield from error.problems


def _unobeyed(settings: LocalExecution) -> Iterator[Problem]:
    for name in ONLY_CONTAINERS:
        if getattr(settings, name) != LocalExecution.model_fields[name].get_default():
            hint = "take it out, or set execution.runtime: docker"
            yield Problem(f"execution.{name} is obeyed by containers only, and the runtime is process", hint=hint)


def _settings(settings: LocalExecution, base_dir: Path) -> Iterator[Problem]:
    from docker.errors import DockerException
    from docker.utils import parse_bytes

    try:
        parse(settings.extra_docker_args)
    except UsageError as error:
        yield from error.problems
    for name in ("memory", "shm_size"):
        try:
            parse_bytes(getattr(settings, name) or "1g")
        except DockerException:
            yield Problem(f"execution.{name}: {getattr(settings, name)!r} is no size", hint="write 512m or 8g")
    mounts = settings.mounts
    roles = {"deployment": mounts.deployment, "evaluation": mounts.evaluation}
    for role, binds in (roles | {f"auxiliary.{name}": binds for name, binds in mounts.auxiliary.items()}).items():
        for folder in binds:
            if not (base_dir / folder).exists():
                yield Problem(f"execution.mounts.{role}: there is no {base_dir / folder}")


def _containers(jobs: Sequence[Job], settings: LocalExecution, environ: Mapping[str, str]) -> Iterator[Problem]:
    if settings.runtime == "docker":
        yield from _homeless(jobs)
        yield from _loopback(jobs, settings)
    try:
        with engine(environ) as client:
            yield from _limits(client, settings)
            yield from _images(client, jobs, settings)
    except NelActionError as error:
        yield from error.problems


def _homeless(jobs: Iterable[Job]) -> Iterator[Problem]:
    for job in jobs:
        if job.image is None:
            hint = "name one with container:, or set execution.runtime: process"
            yield Problem(f"{job.name} has no image to run in", hint=hint)


def _loopback(jobs: Iterable[Job], settings: LocalExecution) -> Iterator[Problem]:
    """A container's loopback is its own."""
    urls = {job.target.api_endpoint.url for job in jobs if not isinstance(job.deployment, ServedDeployment)}
    for url in sorted(url for url in urls if url):
        if settings.network != "host" and _is_loopback(urlsplit(url).hostname or ""):
            hint = "set execution.network: host, or give an address that containers reach"
            yield Problem(f"a container cannot reach {url}, which is this machine's own loopback", hint=hint)


def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified


def _limits(client: DockerClient, settings: LocalExecution) -> Iterator[Problem]:
    cores = int(client.info().get("NCPU") or 0)
    if settings.cpus is not None and cores and settings.cpus > cores:
        yield Problem(f"execution.cpus: {settings.cpus:g} are asked for, and the engine has {cores}")
    known = {"host", "none", "bridge"} | {str(network.name) for network in client.networks.list()}
    if settings.network and settings.network not in known and not settings.network.startswith("container:"):
        hint = f"create it with `docker network create {settings.network}`"
        yield Problem(f"execution.network: the engine has no network {settings.network}", hint=hint)


def _images(client: DockerClient, jobs: Iterable[Job], settings: LocalExecution) -> Iterator[Problem]:
    wanted = {(job.image, job.image_digest) for job in jobs if job.image is not None}
    served = [one for job in jobs for one in _served(job).values()]
    in_container = [each for each in served if (each.runtime or settings.runtime) == "docker"]
    wanted |= {(each.image, None) for each in in_container if each.image is not None}
    for image, digest in sorted(wanted, key=str):
        why = missing(client, image, digest, pull=settings.pull)
        if why is not None:
            hint = "check the name, `docker login` where it is private, and the network"
            yield Problem(f"the image {image} cannot be had: {why}", hint=hint)
