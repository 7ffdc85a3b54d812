"""The batch script of a job: settings above, the same few commented parts below, in one file that a person can read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from importlib.resources import files
from typing import Final

from nel_action.executors.slurm.bound import BoundJob
from nel_action.executors.slurm.containers import Box, wrap
from nel_action.executors.slurm.header import header
from nel_action.executors.slurm.shell import Expression, Word, array, assign, exports, function, quote
from nel_action.spec.slurm import ClusterEnvironment, walltime_seconds
from nel_action.version import __version__

__all__ = ["script"]

ALWAYS: Final = ("10_begin.sh", "20_claim.sh")
CHAIN: Final = "30_chain.sh"
STEPS: Final = "40_steps.sh"
SERVER: Final = "50_server.sh"
BALANCER: Final = "55_balancer.sh"
EVALUATE: Final = "60_evaluate.sh"

FENCE: Final = 45
"""Seconds that a job waits before it continues one whose node was lost; three times what running ones look again in."""

SRUN: Final = ("srun", "--overlap", "--kill-on-bad-exit=1", "--cpu-bind=none", "--open-mode=append")


def script(bound: BoundJob) -> str:
    """Return the whole batch script; no secret is in it, nor a value that comes from one."""
    served = bound.serve is not None
    parts = [*ALWAYS, *([CHAIN] if bound.settings.max_resumes else []), STEPS]
    parts += [SERVER] if served else []
    parts += [BALANCER] if served and bound.settings.num_instances > 1 else []
    text = [_top(bound), *map(_part, ALWAYS), *map(_part, parts[2:]), _part(EVALUATE)]
    text[1:1] = [_settings(bound), _evaluation(bound), *([_server(bound)] if served else [])]
    return "\n".join(text)


@cache
def _part(name: str) -> str:
    return files("nel_action.executors.slurm").joinpath("parts", name).read_text("utf-8")


def _top(bound: BoundJob) -> str:
    job, settings = bound.job, bound.settings
    # NOTE: Environment modules are there in login shells only.
    modules = any(one.modules for one in (settings.environment, *settings.environments.values()))
    about = _comment(f"{job.task.display} on {job.model}, key {job.key}, attempt {bound.number}")
    comment = f"{settings.subproject} {job.name}"
    return (
        f"#!/bin/bash{' -l' if modules else ''}\n{about}"
        f"# Written by nel-action {__version__}; docs/executors/slurm.md says what lies where and why.\n"
        f"{header(settings, bound.place, comment)}"
        "# shellcheck disable=SC2016 # what is quoted is for other shells\n"
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
    deployment = bound.deployment
    if deployment is not None:
        values |= {
            "NEL_INSTANCES": settings.num_instances,
            "NEL_NODES_EACH": settings.num_nodes // settings.num_instances,
            "NEL_PORT_HOLE": bound.holes[0],
            "NEL_FRONT_HOLE": bound.holes[1],
            "NEL_PORT_FIRST": deployment.port or 0,
            "NEL_HEALTH_PATH": deployment.endpoints.health,
            "NEL_READY_SECONDS": int(settings.readiness_seconds),
        }
        if settings.num_instances > 1:
            proxy = settings.proxy.config
            values |= {
                "NEL_FRONT_FIRST": proxy.haproxy_port,
                "NEL_FRONT_CHECK_PATH": proxy.health_check_path,
                "NEL_FRONT_CHECK_STATUS": proxy.health_check_status,
            }
    return assign(values)


def _evaluation(bound: BoundJob) -> str:
    settings, command = bound.settings, bound.command
    holes = {bound.holes[1]: "front"} if bound.serve else {}
    own = settings.environment_of(bound.job.harness) if settings.runtime == "none" else ClusterEnvironment()
    renamed = {name: holder for name, holder in command.secret_env.items() if name != holder}
    lines = _environment(own, bound.job.env)
    lines += [f'export {name}="${{{holder}}}"' for name, holder in renamed.items()]
    lines += exports(command.env, holes)
    if settings.evaluation_gpu_visible:
        shown = "all" if settings.evaluation_gpu_visible is True else settings.evaluation_gpu_visible
        lines += exports({"NVIDIA_VISIBLE_DEVICES": shown})
    srun: list[Word] = [*SRUN, "--nodes=1", "--ntasks=1", Expression('--nodelist="$here"')]
    srun += [f"--output={bound.place.client_log}"]
    # NOTE: srun has been seen to end with status 0 when its node was lost; so the program's own status is kept.
    text = 'echo > "$0"; "$@"; code=$?; echo "$code" > "$0"; exit "$code"'
    first = ("sh", "-c", text, _mark(bound.evaluation_box, "client"))
    words = _step(srun, bound.evaluation_box, first, command.argv, holes)
    return function("environment_of_evaluation", lines) + "\n" + function("evaluation_words", [words])


def _server(bound: BoundJob) -> str:
    settings, command, deployment = bound.settings, bound.serve, bound.deployment
    if command is None or deployment is None:
        return ""
    holes = {bound.holes[0]: "port"}
    own = settings.environment_of(bound.kind) if settings.runtime == "none" else ClusterEnvironment()
    lines = [*_environment(own, deployment.env_vars), *exports(command.env, holes)]
    tasks = (settings.deployment.n_tasks or settings.num_nodes) // settings.num_instances
    each = settings.num_nodes // settings.num_instances
    srun: list[Word] = [*SRUN, f"--nodes={each}", f"--ntasks={tasks}", Expression('--nodelist="$nodelist"')]
    srun += [f"--mpi={settings.mpi}"] if settings.mpi else []
    srun += [Expression(f'--output={quote(str(bound.place.logs))}/server-"$1".log')]
    lines += ['MASTER_IP=$(address_of "${nodelist%%,*}")', "NODES_PER_INSTANCE=$NEL_NODES_EACH"]
    lines += ["export MASTER_IP NODES_PER_INSTANCE"]
    # NOTE: a server over several nodes knows by PROC_ID which of its tasks it is; the tasks are Slurm's
    text = 'echo > "$0"; PROC_ID=${SLURM_PROCID:-0}; export PROC_ID; exec "$@"'
    first = ("sh", "-c", text, _mark(bound.server_box, 'server-"$1"'))
    words = _step(srun, bound.server_box, first, command.argv, holes)
    made = [("environment_of_server", lines), ("server_words", [words])]
    if settings.num_instances > 1:
        made.append(("balancer_words", [_balancer(bound)]))
    return "\n".join(function(name, body) for name, body in made)


def _balancer(bound: BoundJob) -> str:
    """Return the words of the balancer, which sees its settings where the servers see their files."""
    box = replace(bound.server_box, image=bound.settings.proxy.image, mounts={}, env_names=(), gpus=False)
    srun: list[Word] = [*SRUN, "--nodes=1", "--ntasks=1", Expression('--nodelist="$here"')]
    flags, words = wrap(box, ["haproxy", "-db", "-f", f"{box.root}/work/haproxy.cfg"])
    return array("STEP", [*srun, *flags, *words])


def _environment(own: ClusterEnvironment, variables: Mapping[str, str]) -> list[str]:
    """Return what a step's own shell does first: its environment, then variables that the job itself must have."""
    lines = [f"module load {' '.join(map(quote, own.modules))} || exit 78"] if own.modules else []
    lines += ["# shellcheck source=/dev/null", f". {quote(own.setup)} || exit 78"] if own.setup else []
    if own.path:
        lines += [f"export VIRTUAL_ENV={quote(own.path)}", f'export PATH={quote(own.path)}/bin:"$PATH"']
    late = {name: ref.removeprefix("runtime:") for name, ref in variables.items() if ref.startswith("runtime:")}
    return [*lines, *(f'export {name}="${{{other}:?is not set where the job runs}}"' for name, other in late.items())]


def _step(
    srun: list[Word], box: Box, first: tuple[Word, ...], program: tuple[str, ...], holes: Mapping[str, str]
) -> str:
    """Return the words of a step: `srun`, the runtime, a first act, the program."""
    flags, words = wrap(box, [*first, *program])
    return array("STEP", [*srun, *flags, *words], holes)


def _mark(box: Box, name: str) -> Expression:
    """Return the file that tells of a step from inside: that it was started, then how it ended."""
    return Expression(f"{quote(str(box.root))}/.launched-{name}")
