"""Scripts that run jobs by hand as the supervisor would; readable, and without secrets.

`run.sh` runs one job, `run_all.sh` all jobs of a plan, and `serve.sh` (`serve-NAME.sh`) a model server.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Final

from nel_action.executors.local.command import auxiliary_deployments, bind, with_auxiliary_servers
from nel_action.executors.local.docker.images import repository
from nel_action.executors.local.docker.run import CONTAINER_PATHS, HOME_VARIABLES
from nel_action.executors.local.interface import HarnessPaths
from nel_action.executors.local.model_server.interface import server_kind
from nel_action.harnesses.interface import Command
from nel_action.model.env_ref import EnvRef
from nel_action.model.job import attempt_name
from nel_action.model_servers.interface import ServeBinding, ServeCommand
from nel_action.planning.jobs import Job, Plan
from nel_action.spec.deployment import NoDeployment, ServedDeployment
from nel_action.spec.execution import LocalExecution

__all__ = ["plan_scripts", "run_script"]

PLACEHOLDERS: Final = HarnessPaths(
    artifacts=PurePosixPath("/@artifacts@"), work=PurePosixPath("/@work@"), task=PurePosixPath("/@task@")
)
"""Placeholders for directories that are only known when the script runs."""

VARIABLES: Final = {"/@artifacts@": '"$artifacts"', "/@work@": '"$work"', "/@task@": '"$task"'}
"""Placeholder → shell variable."""

DEFAULT_PORT: Final = 8000
"""Port of a model server that is started by hand if the spec names none."""

RUN_HEADER: Final = """\
#!/usr/bin/env bash
# {name}: runs by hand what attempt {attempt} runs. The supervisor does not use this file.
# Results are written to $NEL_RESULTS_DIR, by default by-hand/ next to this script.
# shellcheck disable=SC2016 # text in single quotes is meant literally
set -euo pipefail
here=$(cd "$(dirname "${{BASH_SOURCE[0]}}")" && pwd)
results=${{NEL_RESULTS_DIR:-$here/by-hand}}
artifacts=$results/artifacts work=$results/work task=$results/task
mkdir -p "$artifacts" "$work" "$task"
"""

RUN_ALL_HEADER: Final = """\
#!/usr/bin/env bash
# Runs every task of this plan by hand, one after the other; results are in by-hand/ next to each run.sh.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
status=0
"""

START_SERVER: Final = """\
"$here/{script}" > "$here/{log}" 2>&1 &
servers+=("$!")
for ((second = 0; second < {timeout}; second++)); do
  if python3 -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=5)' {health} 2>/dev/null; then
    break
  fi
  kill -0 "${{servers[-1]}}" 2>/dev/null || {{ echo "the server exited; see $here/{log}" >&2; exit 3; }}
  sleep 1
done
"""

STOP_SERVERS: Final = """\
servers=()
trap 'kill "${servers[@]}" 2>/dev/null; wait "${servers[@]}"' EXIT
"""

SERVE_HEADER: Final = """\
#!/usr/bin/env bash
# {title}: runs by hand until it is interrupted.
# shellcheck disable=SC2016 # text in single quotes is meant literally
set -euo pipefail
here=$(cd "$(dirname "${{BASH_SOURCE[0]}}")" && pwd)
work=$here/{directory}
mkdir -p "$work"
"""


def run_script(job: Job, number: int, settings: LocalExecution, base_dir: Path = Path()) -> str:
    """Return the text of `run.sh`.

    Args:
        job: the job, with absolute paths.
        number: number of the attempt.
        settings: the spec's `execution`.
        base_dir: directory that relative paths in the spec start from.
    """
    containerised = settings.runtime == "docker"
    base_urls = {name: f"http://127.0.0.1:{port}" for name, port in _auxiliary_ports(job).items()}
    job, variables = with_auxiliary_servers(job, base_urls)
    command = bind(job, CONTAINER_PATHS if containerised else PLACEHOLDERS, _target_url(job))
    command = replace(command, env={**variables, **command.env})
    lines = [
        RUN_HEADER.format(name=job.name, attempt=attempt_name(job.key, number)),
        *_adapter_notice(job),
        *_copy_task(job),
        *_write_files(command.files),
        *_exports(job.env, command),
        *(_run_container(job, command, settings, base_dir) if containerised else _run_process(job, command)),
    ]
    return "\n".join(lines) + "\n"


def _adapter_notice(job: Job) -> list[str]:
    """Return lines that refuse to run a job whose requests or answers the gateway changes, which a script does not."""
    if not job.adapter.steps:
        return []
    text = (
        f"the adapter steps of this job ({', '.join(job.adapter.steps)}) are applied by the gateway, not by this script"
    )
    message = shlex.quote(f"{text}; set NEL_WITHOUT_ADAPTER=1 to run without them")
    return [f"[[ -n ${{NEL_WITHOUT_ADAPTER:-}} ]] || {{ echo {message} >&2; exit 3; }}"]


def plan_scripts(plan: Plan, settings: LocalExecution, base_dir: Path = Path()) -> Mapping[str, str]:
    """Return `run_all.sh`, and a `serve.sh` for each model server of the spec.

    Args:
        plan: the plan; its jobs have absolute paths.
        settings: the spec's `execution`.
        base_dir: directory that relative paths in the spec start from.
    """
    servers = list(_servers(plan, settings))
    lines = [RUN_ALL_HEADER, *([STOP_SERVERS] if servers else [])]
    texts = {}
    for server in servers:
        health = shlex.quote(f"http://127.0.0.1:{server.port}{server.deployment.endpoints.health}")
        log = server.script.removesuffix(".sh") + ".log"
        timeout = round(settings.endpoint_readiness_timeout)
        lines.append(START_SERVER.format(script=server.script, log=log, health=health, timeout=timeout))
        texts[server.script] = "\n".join(_serve(plan, server, settings, base_dir)) + "\n"
    lines += [f'"$here"/{shlex.quote(job.name)}/run.sh || status=$?' for job in plan.jobs]
    return {"run_all.sh": "\n".join([*lines, 'exit "$status"']) + "\n", **texts}


def _target_url(job: Job) -> str:
    """Return the target's URL, or the URL of its model server once `serve.sh` has started it."""
    deployment = job.deployment
    if isinstance(deployment, NoDeployment):
        return job.target.api_endpoint.url or ""
    route = server_kind(deployment).route(deployment, job.task.endpoint_type)
    return f"http://127.0.0.1:{deployment.port or DEFAULT_PORT}{route}"


def _auxiliary_ports(job: Job) -> dict[str, int]:
    """Return a distinct port for each auxiliary server that is started by hand."""
    main = job.deployment.port or DEFAULT_PORT if isinstance(job.deployment, ServedDeployment) else DEFAULT_PORT
    taken, ports = {main}, {}
    for name, deployment in auxiliary_deployments(job).items():
        ports[name] = next(port for port in count(deployment.port or DEFAULT_PORT) if port not in taken)
        taken.add(ports[name])
    return ports


def _copy_task(job: Job) -> Iterator[str]:
    if job.task.task_dir is not None:
        yield f'cp -R {shlex.quote(str(job.task.task_dir))}/. "$task"'


def _write_files(files: Mapping[str, str]) -> Iterator[str]:
    """Write each file of a command into the working directory, with placeholders replaced."""
    for name, text in files.items():
        mark = "END_OF_FILE"
        while mark in text:
            mark += "_"
        body = text if text.endswith("\n") else f"{text}\n"
        path = f'"$work"/{shlex.quote(name)}'
        if "/" in name:
            yield f'mkdir -p "$(dirname {path})"'
        yield f"{_filter(body)} > {path} <<'{mark}'\n{body}{mark}"


def _filter(body: str) -> str:
    """Return the command that replaces the placeholders in a file."""
    placeholders = [placeholder for placeholder in VARIABLES if placeholder in body]
    substitutions = " ".join(f'-e "s|{name}|{VARIABLES[name][1:-1]}|g"' for name in placeholders)
    return f"sed {substitutions}" if placeholders else "cat"


def _exports(env: Mapping[str, EnvRef], command: Command) -> Iterator[str]:
    """Set variables; a secret must be set by the caller and is only named here."""
    for name, reference in env.items():
        source = reference.value
        value = f'"${{{source}:?set {source} first}}"' if reference.secret else shlex.quote(source)
        yield f"export {name}={value}"
    for name, source in command.secret_env.items():
        if name != source:
            yield f'export {name}="${{{source}:?set {source} first}}"'
    for name, value in command.env.items():
        yield f"export {name}={_quote(value)}"


def _create_virtualenv(requirements: Iterable[str], directory: str) -> Iterator[str]:
    """Create a virtual environment if it does not exist, and prepend it to PATH."""
    arguments = list(requirements)
    hashed = any("--hash" in Path(item).read_text(encoding="utf-8") for item in arguments if Path(item).is_file())
    install = ["uv", "pip", "install", "-q", *(["--require-hashes"] if hashed else []), *arguments]
    yield f"environment={directory}"
    yield 'if [ ! -x "$environment/bin/python" ]; then'
    yield '  uv venv -q "$environment"'
    yield f'  {shlex.join(install)} --python "$environment/bin/python"'
    yield "fi"
    yield 'export PATH="$environment/bin:$PATH"'


def _run_process(job: Job, command: Command) -> Iterator[str]:
    if job.requirements:
        yield from _create_virtualenv(["-r", job.requirements], '"$results"/environment')
    yield 'cd "$work"'
    yield f"exec {_join(command.argv)}"


def _run_container(job: Job, command: Command, settings: LocalExecution, base_dir: Path) -> Iterator[str]:
    names = [*job.env, *command.secret_env, *command.env]
    paths = CONTAINER_PATHS
    arguments = [
        "--init --cap-drop ALL --security-opt no-new-privileges",
        f"--shm-size {shlex.quote(settings.shm_size)}",
        *([f"--memory {(limit := shlex.quote(settings.memory))} --memory-swap {limit}"] if settings.memory else []),
        *([f"--cpus {settings.cpus:g}"] if settings.cpus else []),
        _network_option(job, settings),
        '--user "$(id -u):$(id -g)"',
        " ".join(f"-e {name}={shlex.quote(value)}" for name, value in HOME_VARIABLES.items()),
        *([" ".join(f"-e {name}" for name in dict.fromkeys(names))] if names else []),
        f'-v "$artifacts:{paths.artifacts}" -v "$work:{paths.work}" -v "$task:{paths.task}:ro" -w {paths.work}',
        *([f"-v {shlex.quote(f'{job.dataset[0]}:{job.dataset[1]}:ro')}"] if job.dataset else []),
        *_volume_options(settings.mounts.evaluation, base_dir),
        *([settings.extra_docker_args] if settings.extra_docker_args else []),
        '"$image"' if job.image_digest else shlex.quote(job.image or ""),
        _join(command.argv),
    ]
    if job.image_digest:
        yield "# the image of the plan: by its digest in the registry, or by its ID if it was only built here"
        yield f"image={shlex.quote(repository(job.image or ''))}@{job.image_digest}"
        yield f"docker image inspect {job.image_digest} > /dev/null 2>&1 && image={job.image_digest}"
    yield "exec docker run --rm \\\n  " + " \\\n  ".join(arguments)


def _network_option(job: Job, settings: LocalExecution) -> str:
    if settings.network:
        return f"--network {shlex.quote(settings.network)}"
    # NOTE: a server that is started by hand listens on the loopback, which only the host network reaches.
    served = not isinstance(job.deployment, NoDeployment) or bool(auxiliary_deployments(job))
    return "--network host" if served else "--add-host host.docker.internal:host-gateway"


def _volume_options(binds: Mapping[str, str], base_dir: Path) -> Iterator[str]:
    for source, target in binds.items():
        yield f"-v {shlex.quote(f'{base_dir / source}:{target}')}"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Server:
    """A model server of the plan that is started by hand."""

    name: str
    """Empty for the model's own server."""
    deployment: ServedDeployment
    port: int
    mounts: Mapping[str, str]

    @property
    def script(self) -> str:
        return f"serve-{self.name}.sh" if self.name else "serve.sh"


def _servers(plan: Plan, settings: LocalExecution) -> Iterator[_Server]:
    deployment, mounts = plan.spec.deployment, settings.mounts
    if not isinstance(deployment, NoDeployment):
        yield _Server(name="", deployment=deployment, port=deployment.port or DEFAULT_PORT, mounts=mounts.deployment)
    for job in plan.jobs[:1]:
        ports = _auxiliary_ports(job)
        for name, auxiliary in auxiliary_deployments(job).items():
            yield _Server(name=name, deployment=auxiliary, port=ports[name], mounts=mounts.auxiliary.get(name, {}))


def _serve(plan: Plan, server: _Server, settings: LocalExecution, base_dir: Path) -> Iterator[str]:
    deployment = server.deployment
    containerised = (deployment.runtime or settings.runtime) == "docker"
    kind = server_kind(deployment)
    work = PurePosixPath("/work") if containerised else PLACEHOLDERS.work
    binding = ServeBinding(
        host="127.0.0.1",
        port=server.port,
        work_dir=work,
        checkpoint=_checkpoint(deployment, base_dir, containerised=containerised),
    )
    command = _with_pre_cmd(kind.command(deployment, binding), deployment, work)
    title = f"The model server {server.name}" if server.name else "The model server"
    yield SERVE_HEADER.format(title=title, directory=f"serving-{server.name}" if server.name else "serving")
    yield from _write_files(command.files)
    yield from _exports({**plan.spec.env_vars, **deployment.env_vars}, Command(argv=command.argv, env=command.env))
    if containerised:
        yield _serve_container(plan, server, settings, command, base_dir)
        return
    requirements = kind.requirements(deployment)
    if requirements:
        yield from _create_virtualenv(requirements, '"$work"/environment')
    yield 'cd "$work"'
    yield f"exec {_join(command.argv)}"


def _with_pre_cmd(command: ServeCommand, deployment: ServedDeployment, work: PurePosixPath) -> ServeCommand:
    """Run the deployment's `pre_cmd` in the shell that then executes the server."""
    if not deployment.pre_cmd:
        return command
    argv = ("bash", "-c", 'set -e; . "$0"; exec "$@"', str(work / "pre_cmd.sh"), *command.argv)
    return replace(command, argv=argv, files={**command.files, "pre_cmd.sh": f"{deployment.pre_cmd}\n"})


def _checkpoint(deployment: ServedDeployment, base_dir: Path, *, containerised: bool) -> PurePosixPath | None:
    if not deployment.checkpoint_path:
        return None
    return PurePosixPath("/checkpoint") if containerised else PurePosixPath(base_dir / deployment.checkpoint_path)


def _serve_container(
    plan: Plan, server: _Server, settings: LocalExecution, command: ServeCommand, base_dir: Path
) -> str:
    deployment = server.deployment
    names = dict.fromkeys([*plan.spec.env_vars, *deployment.env_vars, *command.env])
    volumes = {deployment.checkpoint_path: "/checkpoint:ro"} if deployment.checkpoint_path else {}
    volumes |= {deployment.cache_path: "/cache"} if deployment.cache_path else {}
    arguments = [
        f"--init --network host --shm-size {shlex.quote(settings.shm_size)}",
        *([f"--gpus {settings.gpus}"] if settings.gpus else []),
        *([" ".join(f"-e {name}" for name in names)] if names else []),
        '-v "$work:/work" -w /work',
        *_volume_options({**volumes, **server.mounts}, base_dir),
        *([settings.extra_docker_args] if settings.extra_docker_args else []),
        *([f"--entrypoint {shlex.quote(command.argv[0])}"] if command.argv else []),
        shlex.quote(deployment.image or ""),
        shlex.join(command.argv[1:]),
    ]
    return "exec docker run --rm \\\n  " + " \\\n  ".join(argument for argument in arguments if argument)


def _quote(text: str) -> str:
    """Quote a text for the shell, with placeholders replaced by variables."""
    parts = [text]
    for placeholder, variable in VARIABLES.items():
        parts = [piece for part in parts for piece in _split(part, placeholder, variable)]
    return "".join(part if part in VARIABLES.values() else shlex.quote(part) for part in parts if part) or "''"


def _split(part: str, placeholder: str, variable: str) -> Iterator[str]:
    for index, piece in enumerate(part.split(placeholder)):
        if index:
            yield variable
        yield piece


def _join(argv: Iterable[str]) -> str:
    return " ".join(_quote(argument) for argument in argv)
