"""Steps of the batch script: for each program, shell functions for its environment and for its `srun` command."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Final

from nel_action.executors.gateway import UPSTREAM_KEY
from nel_action.executors.slurm.containers import ContainerSpec, wrap_command
from nel_action.executors.slurm.model_server import SERVER_ID, TARGET_LABEL, ModelServer
from nel_action.executors.slurm.shell import Argument, ShellExpression, array, exports, function, quote
from nel_action.executors.slurm.slurm_job import GATEWAY_BASE, GATEWAY_CONFIG, RECORD_MOUNT, SlurmJob
from nel_action.gateway.runner import PLACEHOLDER
from nel_action.harnesses.registry import harness
from nel_action.model.env_ref import EnvRef, EnvSource
from nel_action.spec.slurm import ClusterEnvironment, SlurmExecution

__all__ = ["balancer_step", "evaluation_step", "server_step"]

SRUN: Final = ("srun", "--overlap", "--kill-on-bad-exit=1", "--cpu-bind=none", "--open-mode=append")
"""`--overlap` lets server and harness run in one allocation at the same time, and share its GPUs."""

SINGLE_TASK: Final = ("--nodes=1", "--ntasks=1")

# NOTE: srun may exit with status 0 after its node was lost, so the program's own status is recorded. Slurm signals only
# the first process of a step, so this shell passes SIGTERM on.
RECORD_STATUS: Final = (
    'echo > "$0"; "$@" & child=$!; trap "kill -TERM $child" TERM; wait "$child"; code=$?; '
    'while kill -0 "$child" 2>/dev/null; do wait "$child"; code=$?; done; echo "$code" > "$0"; exit "$code"'
)

# NOTE: a server on several nodes reads its rank from PROC_ID; Slurm provides SLURM_PROCID.
# The recorded process ID identifies the server even if it overwrites its environment with a title.
EXPORT_RANK: Final = (
    'echo > "$0"; PROC_ID=${SLURM_PROCID:-0}; export PROC_ID; [ "$PROC_ID" != 0 ] || echo $$ > "$0.pid"; exec "$@"'
)


def evaluation_step(slurm_job: SlurmJob) -> str:
    """Return the functions of the harness: `environment_of_evaluation` and `command_of_evaluation`."""
    settings, command, container = slurm_job.settings, slurm_job.command, slurm_job.evaluation_container
    placeholders = {each.address_placeholder: f"{each.label}_address" for each in slurm_job.servers}
    base = {GATEWAY_BASE: "gateway_base"} if slurm_job.gateway else {}
    renamed = {name: source for name, source in command.secret_env.items() if name != source}
    lines = _environment(_cluster_environment(settings, slurm_job.job.harness), slurm_job.job.env)
    lines += [f'export {name}="${{{source}}}"' for name, source in renamed.items()]
    lines += exports(slurm_job.evaluation_env, placeholders | base)
    if slurm_job.gateway and (key := slurm_job.job.target.api_endpoint.api_key_name):
        lines.append(f'[ "${{#gateway[@]}}" -eq 0 ] || export {UPSTREAM_KEY}="${{{key}}}"')
    if settings.evaluation_gpu_visible:
        devices = "all" if settings.evaluation_gpu_visible is True else settings.evaluation_gpu_visible
        lines += exports({"NVIDIA_VISIBLE_DEVICES": devices})
    output = f"--output={slurm_job.directory.client_log}"
    srun: list[Argument] = [*SRUN, *SINGLE_TASK, ShellExpression('--nodelist="$here"'), output]
    wrapper = ("sh", "-c", RECORD_STATUS, _launch_marker(container, "client"))
    prefix = [ShellExpression('"${gateway[@]}"')] if slurm_job.gateway else []
    step = _step(srun, container, [*wrapper, *command.argv], placeholders | base, prefix)
    functions = {"environment_of_evaluation": lines, "command_of_evaluation": [step]}
    return _functions(functions | (_gateway_functions(slurm_job, placeholders) if slurm_job.gateway else {}))


def _gateway_functions(slurm_job: SlurmJob, placeholders: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the functions that set up the gateway's command, or the endpoint's address where it cannot run.

    Args:
        slurm_job: the attempt.
        placeholders: placeholder → shell variable.
    """
    root, inside = slurm_job.gateway_root, slurm_job.gateway_inside
    work = root / "work"
    program: Argument = str(root / ".gateway.pyz") if inside else str(slurm_job.gateway_program)
    record = ShellExpression(f'{RECORD_MOUNT}/"$number"' if inside else '"$record_dir"')
    argv: list[Argument] = [ShellExpression('"$python"'), "-I", "-S", program, "run"]
    argv += ["--config", str(work / GATEWAY_CONFIG), "--record", record]
    for name in slurm_job.tokens:
        argv += ["--token-env", name]
    for name, text in slurm_job.command.files.items():
        if PLACEHOLDER in text:
            argv += ["--file", str(work / name)]
    if harness(slurm_job.job.harness).starts_over:
        argv += ["--clear", str(root / "artifacts"), "--earlier", str(root / "earlier")]
    direct = quote(slurm_job.direct_base, placeholders)
    substitution = f'substitutions[gateway]="s|{GATEWAY_BASE}|$gateway_base|g"'
    return {
        "gateway_of_evaluation": [array("gateway", [*argv, "--"])],
        "direct_base": [f"gateway_base={direct}", substitution],
    }


def server_step(slurm_job: SlurmJob, server: ModelServer) -> str:
    """Return the functions of a server; their first argument is the index of the instance."""
    label, settings = server.label, slurm_job.settings
    placeholders = {server.port_placeholder: "port"}
    lines = [*_environment(_cluster_environment(settings, server.kind), server.deployment.env_vars)]
    lines += [*exports(server.command.env, placeholders), *_node_variables(server)]
    nodes = server.nodes // server.instances
    nodelist = ShellExpression('--nodelist="$nodelist"')
    srun: list[Argument] = [*SRUN, f"--nodes={nodes}", f"--ntasks={server.tasks}", nodelist]
    srun += [f"--mpi={settings.mpi}"] if settings.mpi else []
    srun += [ShellExpression(f'--output={quote(str(slurm_job.directory.logs))}/{label}-"$1".log')]
    wrapper = ("sh", "-c", EXPORT_RANK, _launch_marker(server.container, f'{label}-"$1"'))
    step = _step(srun, server.container, [*wrapper, *server.command.argv], placeholders)
    return _functions({f"environment_of_{label}": lines, f"command_of_{label}": [step]})


def balancer_step(slurm_job: SlurmJob) -> str:
    """Return the functions of the load balancer; their first argument is the label of the server behind it."""
    settings = slurm_job.settings
    container = replace(
        slurm_job.servers[0].container,
        image=settings.proxy.image,
        mounts={},
        env_names=(SERVER_ID,),
        gpus=False,
        extra_args=(),
    )
    lines = _environment(_cluster_environment(settings, settings.proxy.type), {})
    # NOTE: distributions install it in a directory that is not in a user's PATH.
    lines.append('export PATH="$PATH:/usr/local/sbin:/usr/sbin:/sbin"')
    config = ShellExpression(f'{quote(str(container.root))}/work/haproxy-"$1".cfg')
    srun: list[Argument] = [*SRUN, *SINGLE_TASK, ShellExpression('--nodelist="$here"')]
    step = _step(srun, container, ["haproxy", "-db", "-f", config], {})
    return _functions({"environment_of_balancer": lines, "command_of_balancer": [step]})


def _functions(bodies: Mapping[str, Sequence[str]]) -> str:
    return "\n".join(function(name, lines) for name, lines in bodies.items())


def _node_variables(server: ModelServer) -> Iterator[str]:
    """Yield the assignments from which a server on several nodes learns their addresses."""
    yield 'MASTER_IP=$(address_of "${nodelist%%,*}")'
    yield 'ALL_NODE_IPS=$(addresses_of "$nodelist")'
    yield f"NODES_PER_INSTANCE={server.nodes // server.instances}"
    yield "export MASTER_IP ALL_NODE_IPS NODES_PER_INSTANCE"
    if server.label != TARGET_LABEL:
        prefix = server.env_prefix
        yield f'export {prefix}_MASTER_IP="$MASTER_IP" {prefix}_ALL_NODE_IPS="$ALL_NODE_IPS"'


def _cluster_environment(settings: SlurmExecution, name: str) -> ClusterEnvironment:
    """Return the environment of a program on the node; an empty one for programs in containers."""
    return settings.environment_of(name) if settings.runtime == "none" else ClusterEnvironment()


def _environment(environment: ClusterEnvironment, variables: Mapping[str, EnvRef]) -> list[str]:
    """Return the lines that set up a step's environment and check its `runtime:` variables."""
    lines = [f"module load {' '.join(map(quote, environment.modules))} || exit 78"] if environment.modules else []
    if environment.setup:
        lines += ["# shellcheck source=/dev/null", f". {quote(environment.setup)} || exit 78"]
    if environment.path:
        path = quote(environment.path)
        lines += [f"export VIRTUAL_ENV={path}", f'export PATH={path}/bin:"$PATH"']
    runtime = {name: reference.value for name, reference in variables.items() if reference.source is EnvSource.RUNTIME}
    return [
        *lines,
        *(f'export {name}="${{{source}:?is not set where the job runs}}"' for name, source in runtime.items()),
    ]


def _step(
    srun: Sequence[Argument],
    container: ContainerSpec,
    argv: Sequence[Argument],
    placeholders: Mapping[str, str],
    prefix: Sequence[Argument] = (),
) -> str:
    """Return the assignment of a step's complete command to `STEP`.

    Args:
        srun: `srun` with its options.
        container: what the program runs in.
        argv: the program.
        placeholders: placeholder → shell variable.
        prefix: a program that runs the container.
    """
    options, command = wrap_command(container, argv)
    return array("STEP", [*srun, *options, *prefix, *command], placeholders)


def _launch_marker(container: ContainerSpec, name: str) -> ShellExpression:
    """Return the file that a step creates when it starts, and in which it records its exit status."""
    return ShellExpression(f"{quote(str(container.root))}/.launched-{name}")
