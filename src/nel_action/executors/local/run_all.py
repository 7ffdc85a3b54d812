"""`run_all.sh`: every task of an invocation by hand, with the model's server where the spec has one."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from nel_action.executors.local.auxiliary import further_deployments
from nel_action.executors.local.scripts import (
    HERE,
    SERVED,
    exports,
    files,
    further_ports,
    mounted,
    quote,
    requirements_lines,
)
from nel_action.harnesses.interface import Command
from nel_action.model_servers.interface import ServeBinding, ServeCommand
from nel_action.planning.jobs import Plan
from nel_action.spec.deployment import NoDeployment, ServedDeployment
from nel_action.spec.execution import LocalExecution

__all__ = ["all_scripts"]

HEAD = """\
#!/usr/bin/env bash
# Every task of this run by hand, one after the other; results lie in by-hand/ beside each task's run.sh.
set -uo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
status=0
"""

SERVE = """\
"$here/{script}" > "$here/{log}" 2>&1 &
servers+=("$!")
for ((second = 0; second < {patience}; second++)); do
  if python3 -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=5)' {health} 2>/dev/null; then
    break
  fi
  kill -0 "${{servers[-1]}}" 2>/dev/null || {{ echo "the server ended; see $here/{log}" >&2; exit 3; }}
  sleep 1
done
"""

END_SERVERS = """\
servers=()
trap 'kill "${servers[@]}" 2>/dev/null; wait "${servers[@]}"' EXIT
"""

SERVE_HEAD = """\
#!/usr/bin/env bash
# {what}, by hand, until it is interrupted.
# shellcheck disable=SC2016 # what stands in single quotes is meant as it is
set -euo pipefail
here=$(cd "$(dirname "${{BASH_SOURCE[0]}}")" && pwd)
work=$here/{folder}
mkdir -p "$work"
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class _ByHand:
    """One server of the plan, as it is started by hand."""

    name: str
    """Empty for the model's own."""
    deployment: ServedDeployment
    port: int
    mounts: Mapping[str, str]

    @property
    def script(self) -> str:
        return f"serve-{self.name}.sh" if self.name else "serve.sh"


def all_scripts(plan: Plan, settings: LocalExecution, base_dir: Path = Path()) -> Mapping[str, str]:
    """Return `run_all.sh`, and `serve.sh` and its like for each server that the spec has."""
    servers = list(_servers(plan, settings))
    lines = [HEAD, *([END_SERVERS] if servers else [])]
    texts = {}
    for server in servers:
        health = shlex.quote(f"http://127.0.0.1:{server.port}{server.deployment.endpoints.health}")
        log = server.script.removesuffix(".sh") + ".log"
        patience = round(settings.endpoint_readiness_timeout)
        lines.append(SERVE.format(script=server.script, log=log, health=health, patience=patience))
        texts[server.script] = "\n".join(_serve(plan, server, settings, base_dir)) + "\n"
    lines += [f'"$here"/{shlex.quote(job.name)}/run.sh || status=$?' for job in plan.jobs]
    return {"run_all.sh": "\n".join([*lines, 'exit "$status"']) + "\n", **texts}


def _servers(plan: Plan, settings: LocalExecution) -> Iterator[_ByHand]:
    deployment, mounts = plan.spec.deployment, settings.mounts
    if not isinstance(deployment, NoDeployment):
        yield _ByHand(name="", deployment=deployment, port=deployment.port or SERVED, mounts=mounts.deployment)
    for job in plan.jobs[:1]:
        ports = further_ports(job)
        for name, one in further_deployments(job).items():
            yield _ByHand(name=name, deployment=one, port=ports[name], mounts=mounts.auxiliary.get(name, {}))


def _serve(plan: Plan, server: _ByHand, settings: LocalExecution, base_dir: Path) -> Iterator[str]:
    from nel_action.model_servers.registry import server as server_of

    deployment = server.deployment
    contained = (deployment.runtime or settings.runtime) == "docker"
    kind = server_of(deployment.type)
    work = PurePosixPath("/work") if contained else HERE.work
    binding = ServeBinding(
        host="127.0.0.1",
        port=server.port,
        work_dir=work,
        checkpoint=_checkpoint(deployment, base_dir, contained=contained),
    )
    command = _with_pre_cmd(kind.command(deployment, binding), deployment, work)
    what = f"The server {server.name}" if server.name else "The model's server"
    yield SERVE_HEAD.format(what=what, folder=f"serving-{server.name}" if server.name else "serving")
    yield from files(command.files)
    yield from exports({**plan.spec.env_vars, **deployment.env_vars}, Command(argv=command.argv, env=command.env))
    if contained:
        yield _container(plan, server, settings, command, base_dir)
        return
    words = kind.requirements(deployment)
    if words:
        yield from requirements_lines(words, '"$work"/environment')
    yield 'cd "$work"'
    yield f"exec {' '.join(quote(word) for word in command.argv)}"


def _with_pre_cmd(command: ServeCommand, deployment: ServedDeployment, work: PurePosixPath) -> ServeCommand:
    """Run the deployment's `pre_cmd` first, in the shell that becomes the server."""
    if not deployment.pre_cmd:
        return command
    argv = ("bash", "-c", 'set -e; . "$0"; exec "$@"', str(work / "pre_cmd.sh"), *command.argv)
    return replace(command, argv=argv, files={**command.files, "pre_cmd.sh": f"{deployment.pre_cmd}\n"})


def _checkpoint(deployment: ServedDeployment, base_dir: Path, *, contained: bool) -> PurePosixPath | None:
    if not deployment.checkpoint_path:
        return None
    return PurePosixPath("/checkpoint") if contained else PurePosixPath(base_dir / deployment.checkpoint_path)


def _container(plan: Plan, server: _ByHand, settings: LocalExecution, command: ServeCommand, base_dir: Path) -> str:
    deployment = server.deployment
    names = dict.fromkeys([*plan.spec.env_vars, *deployment.env_vars, *command.env])
    own = {deployment.checkpoint_path: "/checkpoint:ro"} if deployment.checkpoint_path else {}
    own |= {deployment.cache_path: "/cache"} if deployment.cache_path else {}
    words = [
        f"--init --network host --shm-size {shlex.quote(settings.shm_size)}",
        *([f"--gpus {settings.gpus}"] if settings.gpus else []),
        *([" ".join(f"-e {name}" for name in names)] if names else []),
        '-v "$work:/work" -w /work',
        *mounted({**own, **server.mounts}, base_dir),
        *([settings.extra_docker_args] if settings.extra_docker_args else []),
        *([f"--entrypoint {shlex.quote(command.argv[0])}"] if command.argv else []),
        shlex.quote(deployment.image or ""),
        " ".join(shlex.quote(word) for word in command.argv[1:]),
    ]
    return "exec docker run --rm \\\n  " + " \\\n  ".join(word for word in words if word)
