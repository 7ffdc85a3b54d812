"""`run.sh`: one job by hand, as the agent would run it, readable and without a secret in it."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path, PurePosixPath
from typing import Final

from nel_action.executors.local.auxiliary import further_deployments, with_further
from nel_action.executors.local.command import bind
from nel_action.executors.local.docker.client import HOME, PLACES
from nel_action.executors.local.interface import Places
from nel_action.harnesses.interface import Command
from nel_action.model.env_ref import EnvRef
from nel_action.model.job import attempt_name
from nel_action.planning.jobs import Job
from nel_action.spec.deployment import NoDeployment, ServedDeployment
from nel_action.spec.execution import LocalExecution

__all__ = [
    "SERVED",
    "exports",
    "files",
    "further_ports",
    "mounted",
    "quote",
    "requirements_lines",
    "run_script",
    "served_url",
]

HERE: Final = Places(
    artifacts=PurePosixPath("/@artifacts@"), work=PurePosixPath("/@work@"), task=PurePosixPath("/@task@")
)
"""What stands for the folders that are only known when the script runs."""

VARIABLES: Final = {"/@artifacts@": '"$artifacts"', "/@work@": '"$work"', "/@task@": '"$task"'}

SERVED: Final = 8000
"""Port of the model's server when it is started by hand and the spec leaves the port open."""

HEAD: Final = """\
#!/usr/bin/env bash
# {name}, by hand: what attempt {attempt} runs. The agent's own run does not use this file.
# Results go to $NEL_RESULTS_DIR, by default to by-hand/ beside this script.
# shellcheck disable=SC2016 # what stands in single quotes is meant as it is
set -euo pipefail
here=$(cd "$(dirname "${{BASH_SOURCE[0]}}")" && pwd)
results=${{NEL_RESULTS_DIR:-$here/by-hand}}
artifacts=$results/artifacts work=$results/work task=$results/task
mkdir -p "$artifacts" "$work" "$task"
"""


def run_script(job: Job, number: int, settings: LocalExecution, base_dir: Path = Path()) -> str:
    """Return the text of `run.sh`.

    Args:
        job: with absolute paths.
        number: of the attempt that it stands for.
        settings: the spec's `execution`.
        base_dir: folder that the spec's relative paths start from.
    """
    contained = settings.runtime == "docker"
    job, told = with_further(job, further_bases(job))
    command = bind(job, PLACES if contained else HERE, served_url(job))
    command = replace(command, env={**told, **command.env})
    lines = [
        HEAD.format(name=job.name, attempt=attempt_name(job.key, number)),
        *_task_lines(job),
        *files(command.files),
        *exports(job.env, command),
        *(_container(job, command, settings, base_dir) if contained else _process(job, command)),
    ]
    return "\n".join(lines) + "\n"


def served_url(job: Job) -> str:
    """Return the target's URL, or where its server answers when `serve.sh` has started it."""
    deployment = job.deployment
    if isinstance(deployment, NoDeployment):
        return job.target.api_endpoint.url or ""
    from nel_action.model_servers.registry import server

    return f"http://127.0.0.1:{deployment.port or SERVED}" + server(deployment.type).route(
        deployment, job.task.endpoint_type
    )


def further_ports(job: Job) -> dict[str, int]:
    """Return the port of each further server when it is started by hand; no two have the same."""
    main = job.deployment.port or SERVED if isinstance(job.deployment, ServedDeployment) else SERVED
    taken, ports = {main}, {}
    for name, one in further_deployments(job).items():
        ports[name] = next(port for port in count(one.port or SERVED) if port not in taken)
        taken.add(ports[name])
    return ports


def further_bases(job: Job) -> dict[str, str]:
    """Return where each further server answers by hand."""
    return {name: f"http://127.0.0.1:{port}" for name, port in further_ports(job).items()}


def mounted(binds: Mapping[str, str], base_dir: Path) -> Iterator[str]:
    """Write the spec's mounts as `docker run` takes them."""
    for folder, place in binds.items():
        yield f"-v {shlex.quote(f'{base_dir / folder}:{place}')}"


def quote(word: str, variables: Mapping[str, str] = VARIABLES) -> str:
    """Quote a word for the shell; what stands for a folder becomes its variable."""
    parts = [word]
    for mark, variable in variables.items():
        parts = [piece for part in parts for piece in _split(part, mark, variable)]
    return "".join(part if part in variables.values() else shlex.quote(part) for part in parts if part) or "''"


def _split(part: str, mark: str, variable: str) -> Iterator[str]:
    pieces = part.split(mark)
    for index, piece in enumerate(pieces):
        if index:
            yield variable
        yield piece


def _task_lines(job: Job) -> Iterator[str]:
    if job.task.task_dir is not None:
        yield f'cp -R {shlex.quote(str(job.task.task_dir))}/. "$task"'


def files(texts: Mapping[str, str]) -> Iterator[str]:
    """Write each of the command's files into the working directory, with the folders filled in."""
    for name, text in texts.items():
        mark = "END_OF_FILE"
        while mark in text:
            mark += "_"
        body = text if text.endswith("\n") else f"{text}\n"
        path = f'"$work"/{shlex.quote(name)}'
        if "/" in name:
            yield f'mkdir -p "$(dirname {path})"'
        yield f"{_filled(body)} > {path} <<'{mark}'\n{body}{mark}"


def _filled(body: str) -> str:
    marks = [mark for mark in VARIABLES if mark in body]
    substitutions = " ".join(f'-e "s|{mark}|{VARIABLES[mark][1:-1]}|g"' for mark in marks)
    return f"sed {substitutions}" if marks else "cat"


def exports(env: Mapping[str, EnvRef], command: Command) -> Iterator[str]:
    """Set the variables; a secret is asked for by its name, and never stands here."""
    for name, reference in env.items():
        value = reference.value
        given = f'"${{{value}:?set {value} first}}"' if reference.secret else shlex.quote(value)
        yield f"export {name}={given}"
    for name, holder in command.secret_env.items():
        if name != holder:
            yield f'export {name}="${{{holder}:?set {holder} first}}"'
    for name, value in command.env.items():
        yield f"export {name}={quote(value)}"


def requirements_lines(words: Iterable[str], folder: str) -> Iterator[str]:
    """Make an environment in a folder, where it is not there yet, and put its programs first."""
    listed = list(words)
    hashed = any("--hash" in Path(word).read_text(encoding="utf-8") for word in listed if Path(word).is_file())
    install = ["uv", "pip", "install", "-q", *(["--require-hashes"] if hashed else []), *listed]
    text = " ".join(shlex.quote(word) for word in install)
    yield f"environment={folder}"
    yield 'if [ ! -x "$environment/bin/python" ]; then'
    yield '  uv venv -q "$environment"'
    yield f'  {text} --python "$environment/bin/python"'
    yield "fi"
    yield 'export PATH="$environment/bin:$PATH"'


def _process(job: Job, command: Command) -> Iterator[str]:
    if job.requirements:
        yield from requirements_lines(["-r", job.requirements], '"$results"/environment')
    yield 'cd "$work"'
    yield f"exec {_words(command.argv)}"


def _container(job: Job, command: Command, settings: LocalExecution, base_dir: Path) -> Iterator[str]:
    names = [*job.env, *command.secret_env, *command.env]
    words = [
        "--init --cap-drop ALL --security-opt no-new-privileges",
        f"--shm-size {shlex.quote(settings.shm_size)}",
        *([f"--memory {shlex.quote(settings.memory)}"] if settings.memory else []),
        *([f"--cpus {settings.cpus:g}"] if settings.cpus else []),
        _network(job, settings),
        '--user "$(id -u):$(id -g)"',
        " ".join(f"-e {name}={shlex.quote(value)}" for name, value in HOME.items()),
        *([" ".join(f"-e {name}" for name in dict.fromkeys(names))] if names else []),
        f'-v "$artifacts:{PLACES.artifacts}" -v "$work:{PLACES.work}" -v "$task:{PLACES.task}:ro" -w {PLACES.work}',
        *([f"-v {shlex.quote(f'{job.dataset[0]}:{job.dataset[1]}:ro')}"] if job.dataset else []),
        *mounted(settings.mounts.evaluation, base_dir),
        *([settings.extra_docker_args] if settings.extra_docker_args else []),
        shlex.quote(job.image or ""),
        _words(command.argv),
    ]
    if job.image_digest:
        yield f"# the image was {job.image_digest} when this was planned"
    yield "exec docker run --rm \\\n  " + " \\\n  ".join(words)


def _network(job: Job, settings: LocalExecution) -> str:
    if settings.network:
        return f"--network {shlex.quote(settings.network)}"
    # NOTE: by hand the server listens on this machine's loopback, which only its own network reaches.
    served = not isinstance(job.deployment, NoDeployment) or bool(further_deployments(job))
    return "--network host" if served else "--add-host host.docker.internal:host-gateway"


def _words(argv: Iterable[str]) -> str:
    return " ".join(quote(word) for word in argv)
