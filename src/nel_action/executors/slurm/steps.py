"""The job's steps as shell functions: for each program its environment, and the words of `srun` that start it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from nel_action.executors.slurm.containers import Box, wrap
from nel_action.executors.slurm.model_server import MODEL, Service
from nel_action.executors.slurm.shell import Expression, Word, array, exports, function, quote
from nel_action.executors.slurm.slurm_job import BoundJob
from nel_action.model.env_ref import EnvRef, EnvSource
from nel_action.spec.slurm import ClusterEnvironment, SlurmExecution

__all__ = ["balancer", "evaluation", "server"]

SRUN: Final = ("srun", "--overlap", "--kill-on-bad-exit=1", "--cpu-bind=none", "--open-mode=append")
"""`--overlap`: server and harness are steps of one allocation at the same time, and both see all of it, GPUs too."""

ONE: Final = ("--nodes=1", "--ntasks=1")

# NOTE: srun has been seen to end with status 0 when its node was lost; so the program's own status is kept. And Slurm
# signals the first process of a step alone, so this one passes on that the program is asked to end.
KEEP_STATUS: Final = (
    'echo > "$0"; "$@" & child=$!; trap "kill -TERM $child" TERM; wait "$child"; code=$?; '
    'while kill -0 "$child" 2>/dev/null; do wait "$child"; code=$?; done; echo "$code" > "$0"; exit "$code"'
)

# NOTE: a server over several nodes knows by PROC_ID which of its tasks it is; the tasks are Slurm's.
TELL_RANK: Final = 'echo > "$0"; PROC_ID=${SLURM_PROCID:-0}; export PROC_ID; exec "$@"'


def evaluation(bound: BoundJob) -> str:
    """Return the functions of the harness: `environment_of_evaluation`, `words_of_evaluation`."""
    settings, command = bound.settings, bound.command
    holes = {one.front_hole: f"front_{one.label}" for one in bound.services}
    renamed = {name: holder for name, holder in command.secret_env.items() if name != holder}
    lines = _environment(_own(settings, bound.job.harness), bound.job.env)
    lines += [f'export {name}="${{{holder}}}"' for name, holder in renamed.items()]
    lines += exports(bound.evaluation_env, holes)
    if settings.evaluation_gpu_visible:
        shown = "all" if settings.evaluation_gpu_visible is True else settings.evaluation_gpu_visible
        lines += exports({"NVIDIA_VISIBLE_DEVICES": shown})
    srun: list[Word] = [*SRUN, *ONE, Expression('--nodelist="$here"'), f"--output={bound.place.client_log}"]
    first = ("sh", "-c", KEEP_STATUS, _mark(bound.evaluation_box, "client"))
    words = _step(srun, bound.evaluation_box, [*first, *command.argv], holes)
    return _functions({"environment_of_evaluation": lines, "words_of_evaluation": [words]})


def server(bound: BoundJob, service: Service) -> str:
    """Return the functions of one server: its environment, and its words for the instance of that number."""
    label, settings = service.label, bound.settings
    holes = {service.port_hole: "port"}
    lines = [*_environment(_own(settings, service.kind), service.deployment.env_vars)]
    lines += [*exports(service.command.env, holes), *_whereabouts(service)]
    each = service.nodes // service.instances
    srun: list[Word] = [*SRUN, f"--nodes={each}", f"--ntasks={service.tasks}", Expression('--nodelist="$nodelist"')]
    srun += [f"--mpi={settings.mpi}"] if settings.mpi else []
    srun += [Expression(f'--output={quote(str(bound.place.logs))}/{label}-"$1".log')]
    first = ("sh", "-c", TELL_RANK, _mark(service.box, f'{label}-"$1"'))
    words = _step(srun, service.box, [*first, *service.command.argv], holes)
    return _functions({f"environment_of_{label}": lines, f"words_of_{label}": [words]})


def balancer(bound: BoundJob) -> str:
    """Return the functions of the balancer, which sees its settings where the servers see their files."""
    settings = bound.settings
    box = replace(bound.services[0].box, image=settings.proxy.image, mounts={}, env_names=(), gpus=False, extra=())
    lines = _environment(_own(settings, settings.proxy.type), {})
    # NOTE: where distributions put it, and where plain users do not look
    lines.append('export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"')
    config = Expression(f'{quote(str(box.root))}/work/haproxy-"$1".cfg')
    srun: list[Word] = [*SRUN, *ONE, Expression('--nodelist="$here"')]
    words = _step(srun, box, ["haproxy", "-db", "-f", config], {})
    return _functions({"environment_of_balancer": lines, "words_of_balancer": [words]})


def _functions(bodies: Mapping[str, Sequence[str]]) -> str:
    return "\n".join(function(name, lines) for name, lines in bodies.items())


def _whereabouts(service: Service) -> Iterator[str]:
    """Yield what a server over several nodes must know of them."""
    yield 'MASTER_IP=$(address_of "${nodelist%%,*}")'
    yield 'ALL_NODE_IPS=$(addresses_of "$nodelist")'
    yield f"NODES_PER_INSTANCE={service.nodes // service.instances}"
    yield "export MASTER_IP ALL_NODE_IPS NODES_PER_INSTANCE"
    if service.label != MODEL:
        yield f'export {service.prefix}_MASTER_IP="$MASTER_IP" {service.prefix}_ALL_NODE_IPS="$ALL_NODE_IPS"'


def _own(settings: SlurmExecution, name: str) -> ClusterEnvironment:
    """Return what a program finds outside a container; inside one, nothing of it."""
    return settings.environment_of(name) if settings.runtime == "none" else ClusterEnvironment()


def _environment(own: ClusterEnvironment, variables: Mapping[str, EnvRef]) -> list[str]:
    """Return what a step's own shell does first: its environment, then variables that the job itself must have."""
    lines = [f"module load {' '.join(map(quote, own.modules))} || exit 78"] if own.modules else []
    lines += ["# shellcheck source=/dev/null", f". {quote(own.setup)} || exit 78"] if own.setup else []
    if own.path:
        lines += [f"export VIRTUAL_ENV={quote(own.path)}", f'export PATH={quote(own.path)}/bin:"$PATH"']
    late = {name: reference.value for name, reference in variables.items() if reference.source is EnvSource.RUNTIME}
    return [*lines, *(f'export {name}="${{{other}:?is not set where the job runs}}"' for name, other in late.items())]


def _step(srun: Sequence[Word], box: Box, program: Sequence[Word], holes: Mapping[str, str]) -> str:
    """Return the words of a step: `srun`, the runtime, the program."""
    flags, words = wrap(box, program)
    return array("STEP", [*srun, *flags, *words], holes)


def _mark(box: Box, name: str) -> Expression:
    """Return the file that tells of a step from inside: that it was started, then how it ended."""
    return Expression(f"{quote(str(box.root))}/.launched-{name}")
