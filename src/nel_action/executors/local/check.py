"""Validation of a plan against this machine, before anything is submitted."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from nel_action.errors import EngineError, NelActionError, Problem, SpecProblem, UsageError
from nel_action.executors.interface import ExecutorContext
from nel_action.executors.local.command import auxiliary_deployments
from nel_action.executors.local.docker.engine import docker_client
from nel_action.executors.local.docker.images import why_unavailable
from nel_action.executors.local.docker.options import parse_docker_args
from nel_action.executors.local.model_server.interface import LOOPBACK, bridge_gateway, server_kind
from nel_action.executors.local.validation import declared_mounts
from nel_action.executors.virtualenvs import find_uv
from nel_action.planning.jobs import Job, Plan
from nel_action.spec.deployment import ServedDeployment
from nel_action.spec.execution import LocalExecution

if TYPE_CHECKING:
    from docker import DockerClient

__all__ = ["check", "check_gateway"]


def check(plan: Plan, settings: LocalExecution, context: ExecutorContext) -> list[Problem]:
    """Return every problem that would keep the plan from running.

    Args:
        plan: the plan.
        settings: the spec's `execution`.
        context: this machine.
    """
    runtimes = _runtimes(plan.jobs, settings)
    problems = [*_check_home(context.home), *_check_servers(plan.jobs, settings)]
    if "process" in runtimes:
        problems += _check_uv(plan.jobs, context.environ)
    if "docker" in runtimes:
        problems += _check_mounts(settings, context.base_dir)
        problems += _check_containers(plan.jobs, settings, context.environ)
    return problems


def _runtimes(jobs: Iterable[Job], settings: LocalExecution) -> set[str]:
    """Return the runtimes of harnesses and model servers."""
    servers = [deployment for job in jobs for deployment in _servers(job).values()]
    return {settings.runtime} | {deployment.runtime or settings.runtime for deployment in servers}


def _servers(job: Job) -> dict[str, ServedDeployment]:
    """Return each model server of a job by its key in the spec."""
    auxiliary = {f"auxiliary_deployments.{name}": item for name, item in auxiliary_deployments(job).items()}
    return ({"deployment": job.deployment} if isinstance(job.deployment, ServedDeployment) else {}) | auxiliary


def _check_home(home: Path) -> Iterator[Problem]:
    try:
        (home / "local").mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        hint = "set NEL_ACTION_HOME to a directory that this user may write to"
        yield Problem(f"cannot write to {home}: {error.strerror or error}", hint=hint)


def _check_servers(jobs: Iterable[Job], settings: LocalExecution) -> Iterator[Problem]:
    """Check the model servers of the first job; all jobs of a plan have the same ones."""
    for key, deployment in next((_servers(job) for job in jobs), {}).items():
        for problem in server_kind(deployment).check(deployment):
            message = problem.message if key == "deployment" else f"{key}: {problem.message}"
            yield SpecProblem(message, problem.location, problem.hint)
        if deployment.pre_cmd and not settings.trust_commands:
            hint = "set execution.trust_commands: true if the authors of the spec may run shell commands here"
            yield SpecProblem(f"{key}.pre_cmd is a shell command, which is not run unless it is trusted", hint=hint)
        if (deployment.runtime or settings.runtime) == "docker" and deployment.image is None:
            hint = f"name one, or set {key}.runtime: process"
            yield SpecProblem(f"{key}.image is missing: the image of the model server", hint=hint)
        if max(getattr(deployment, "num_nodes", 1), getattr(deployment, "num_instances", 1)) > 1:
            hint = "set num_nodes and num_instances to 1, or run on Slurm"
            yield SpecProblem(f"{key} requires several machines; the local executor has one", hint=hint)


def _check_uv(jobs: Iterable[Job], environ: Mapping[str, str]) -> Iterator[Problem]:
    if any(job.requirements or _servers(job) for job in jobs):
        try:
            find_uv(environ)
        except EngineError as error:
            yield from error.problems


def _check_mounts(settings: LocalExecution, base_dir: Path) -> Iterator[Problem]:
    for key, source in declared_mounts(settings):
        if not (base_dir / source).exists():
            yield SpecProblem(f"{'.'.join(map(str, key[:-1]))}: {base_dir / source} does not exist")


def _check_containers(jobs: Sequence[Job], settings: LocalExecution, environ: Mapping[str, str]) -> Iterator[Problem]:
    if settings.runtime == "docker":
        yield from _check_missing_images(jobs)
        yield from _check_loopback(jobs, settings)
        if "none" in {settings.network, _extra_network(settings)}:
            hint = "remove it; a task needs the address of its model"
            yield SpecProblem("execution.network: none keeps the harness from reaching the model", hint=hint)
    try:
        with docker_client(environ) as client:
            yield from _check_limits(client, settings)
            yield from _check_images(client, jobs, settings)
            if settings.runtime == "docker" and any(job.gateway for job in jobs):
                yield from check_gateway(client, settings, environ)
    except NelActionError as error:
        yield from error.problems


def _extra_network(settings: LocalExecution) -> str | None:
    with suppress(UsageError):
        return parse_docker_args(settings.extra_docker_args).get("network")
    return None


def _check_missing_images(jobs: Iterable[Job]) -> Iterator[Problem]:
    for job in jobs:
        if job.image is None:
            hint = "name one with container:, or set execution.runtime: process"
            yield SpecProblem(f"{job.name} has no image to run in", hint=hint)


def _check_loopback(jobs: Iterable[Job], settings: LocalExecution) -> Iterator[Problem]:
    """Reject targets on this machine's loopback interface, which containers cannot reach."""
    # NOTE: a gateway runs on this machine and reaches it.
    direct = [job for job in jobs if job.gateway is None and not isinstance(job.deployment, ServedDeployment)]
    urls = {job.target.api_endpoint.url for job in direct}
    for url in sorted(url for url in urls if url):
        if settings.network != "host" and _is_loopback(urlsplit(url).hostname or ""):
            hint = "set execution.network: host, or use an address that containers can reach"
            message = f"a container cannot reach {url}, which is on this machine's loopback interface"
            yield SpecProblem(message, hint=hint)


def _is_loopback(host: str) -> bool:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
    return address.is_loopback or address.is_unspecified


def _check_limits(client: DockerClient, settings: LocalExecution) -> Iterator[Problem]:
    cores = int(client.info().get("NCPU") or 0)
    if settings.cpus is not None and cores and settings.cpus > cores:
        yield Problem(f"execution.cpus: {settings.cpus:g} exceeds the {cores} CPUs of the engine")
    known = {"host", "none", "bridge"} | {str(network.name) for network in client.networks.list()}
    if settings.network and settings.network not in known and not settings.network.startswith("container:"):
        hint = f"create it with `docker network create {settings.network}`"
        yield Problem(f"execution.network: the engine has no network {settings.network}", hint=hint)


def check_gateway(client: DockerClient, settings: LocalExecution, environ: Mapping[str, str]) -> Iterator[Problem]:
    """Yield reasons why containers of the engine cannot reach a gateway on this machine."""
    host = environ.get("DOCKER_HOST", "")
    network = settings.network or _extra_network(settings) or "bridge"
    reason = None
    if host and not host.startswith(("unix://", "npipe://")):
        reason = f"the engine at {host} is on another machine"
    elif any("rootless" in option for option in client.info().get("SecurityOptions") or []):
        reason = "a rootless engine keeps its containers from this machine's addresses"
    elif network.startswith("container:"):
        reason = f"execution.network: {network} is the network of another container"
    elif network != "host" and "Docker Desktop" not in str(client.info().get("OperatingSystem")):
        reason = _unreachable_bridge(client)
    if reason is not None:
        hint = "set execution.runtime: process, or gateway: false, which gives the API key to the harness"
        yield Problem(f"containers cannot reach the gateway: {reason}", hint=hint)


def _unreachable_bridge(client: DockerClient) -> str | None:
    """Return why containers do not reach this machine through the default bridge; None if they do."""
    from docker.errors import NotFound

    try:
        address = bridge_gateway(client)
    except NotFound:
        return "the engine has no default bridge network; execution.network: host works"
    if address == LOOPBACK:
        return "the engine's bridge is not on this machine: nel-action itself runs in a container"
    return None


def _check_images(client: DockerClient, jobs: Iterable[Job], settings: LocalExecution) -> Iterator[Problem]:
    images = {(job.image, job.image_digest) for job in jobs if job.image is not None}
    servers = [deployment for job in jobs for deployment in _servers(job).values()]
    in_containers = [deployment for deployment in servers if (deployment.runtime or settings.runtime) == "docker"]
    images |= {(deployment.image, None) for deployment in in_containers if deployment.image is not None}
    for image, digest in sorted(images, key=str):
        reason = why_unavailable(client, image, digest, pull=settings.pull)
        if reason is not None:
            hint = "check the name, `docker login` if it is private, and the network"
            yield Problem(f"cannot pull the image {image}: {reason}", hint=hint)
