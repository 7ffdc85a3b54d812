"""The batch script of a job: settings above, the same few commented parts below, in one file that a person can read."""

from __future__ import annotations

import re
from functools import cache
from importlib.resources import files
from typing import Final

from nel_action.executors.slurm import steps
from nel_action.executors.slurm.header import header
from nel_action.executors.slurm.model_server import MODEL, Service
from nel_action.executors.slurm.shell import assign, quote
from nel_action.executors.slurm.slurm_job import BoundJob
from nel_action.spec.slurm import walltime_seconds
from nel_action.version import __version__

__all__ = ["script"]

ALWAYS: Final = ("10_begin.sh", "20_claim.sh")
CHAIN: Final = "30_chain.sh"
STEPS: Final = "40_steps.sh"
SERVERS: Final = "50_servers.sh"
BALANCER: Final = "55_balancer.sh"
EVALUATE: Final = "60_evaluate.sh"

FENCE: Final = 45
"""Seconds that a job waits before it continues one whose node was lost; three times what running ones look again in."""

SERVING: Final = """\
# ---- What serves: all are started at once, then each is waited for ----------------------------------------------
"""


def script(bound: BoundJob) -> str:
    """Return the whole batch script; no secret is in it, nor a value that comes from one."""
    balanced = any(one.instances > 1 for one in bound.services)
    text = [_top(bound), _settings(bound), steps.evaluation(bound)]
    text += [steps.server(bound, one) for one in bound.services]
    text += [steps.balancer(bound)] if balanced else []
    text += map(_part, ALWAYS)
    text += [_part(CHAIN)] if bound.settings.max_resumes else []
    text += [_part(STEPS)]
    text += [_part(SERVERS)] if bound.services else []
    text += [_part(BALANCER)] if balanced else []
    text += [_serving(bound)] if bound.services else []
    return "\n".join([*text, _part(EVALUATE)])


@cache
def _part(name: str) -> str:
    return files("nel_action.executors.slurm").joinpath("templates", name).read_text("utf-8")


def _top(bound: BoundJob) -> str:
    job, settings = bound.job, bound.settings
    # NOTE: Environment modules are there in login shells only.
    modules = any(one.modules for one in (settings.environment, *settings.environments.values()))
    about = _comment(f"{job.task.display} on {job.model}, key {job.key}, attempt {bound.number}")
    comment = f"{settings.subproject} {job.name}"
    return (
        f"#!/bin/bash{' -l' if modules else ''}\n{about}"
        f"# Written by nel-action {__version__}; docs/executors/slurm.md says what lies where and why.\n"
        f"{header(settings, bound.place, comment, nodes=bound.nodes)}"
        "# shellcheck disable=SC2016,SC2329 # quoted text is for other shells; some functions are called by name\n"
    )


def _comment(text: str) -> str:
    return f"# {' '.join(text.split())}\n"


def _settings(bound: BoundJob) -> str:
    settings = bound.settings
    limits = [bound.job.timeout] + ([walltime_seconds(settings.max_walltime)] if settings.max_walltime else [])
    values: dict[str, str | int] = {
        "NEL_NAME": bound.place.name,
        "NEL_DIR": str(bound.place.path),
        "NEL_SCRIPT": str(bound.place.path / bound.script_name),
        "NEL_WALLTIME": walltime_seconds(settings.walltime),
        "NEL_BUDGET": int(min(limits)),
        "NEL_RESUMES": settings.max_resumes,
        "NEL_FENCE": FENCE,
        "NEL_RUNTIME": settings.runtime,
    }
    if bound.services:
        values["NEL_READY_SECONDS"] = int(settings.readiness_seconds)
    return assign(values)


def _serving(bound: BoundJob) -> str:
    """Return the calls that start the servers and wait for them."""
    lines = [f"serve {one.label} {one.nodes} {one.instances} {_port(one)}" for one in bound.services]
    lines.append("place_files")
    lines.append(f"launch {' '.join(one.label for one in bound.services)}")
    for one in bound.services:
        lines.append(f"await {one.label} {quote(one.deployment.endpoints.health)}")
        if one.instances > 1:
            lines.append(f"balance {one.label} {_front(bound, one)}")
        lines.append(f"front_{one.label}=${{front_of[{one.label}]}}")
        lines.append(f'holes[front_{one.label}]="s/{re.escape(one.front_hole)}/$front_{one.label}/g"')
    return SERVING + "".join(f"{line}\n" for line in lines)


def _port(service: Service) -> str:
    """Return the port to begin with and what stands for it; the latter is left out where there is no choice."""
    return f"{service.deployment.port}{'' if service.port_named else f' {service.port_hole}'}"


def _front(bound: BoundJob, service: Service) -> str:
    """Return the balancer's port, and how it sees that an instance is healthy."""
    config = bound.settings.proxy.config
    if service.label == MODEL:
        return f"{config.haproxy_port} {quote(config.health_check_path)} {config.health_check_status}"
    return f"{config.haproxy_port + 1} {quote(service.deployment.endpoints.health)} 200"
