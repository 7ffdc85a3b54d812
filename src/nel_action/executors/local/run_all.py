"""`run_all.sh`: every task of an invocation by hand, with the model's server where the spec has one."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath

from nel_action.deployment.interface import ServeBinding, ServeCommand
from nel_action.executors.local.scripts import HERE, SERVED, exports, files, quote, requirements_lines
from nel_action.harness.interface import Command
from nel_action.jobs import Plan
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
"$here/serve.sh" > "$here/serve.log" 2>&1 &
server=$!
trap 'kill "$server" 2>/dev/null; wait "$server"' EXIT
for ((second = 0; second < {patience}; second++)); do
  if python3 -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=5)' {health} 2>/dev/null; then
    break
  fi
  kill -0 "$server" 2>/dev/null || {{ echo "the server ended; see $here/serve.log" >&2; exit 3; }}
  sleep 1
done
"""

SERVE_HEAD = """\
#!/usr/bin/env bash
# The model's server, by hand, until it is interrupted.
# shellcheck disable=SC2016 # what stands in single quotes is meant as it is
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
work=$here/serving
mkdir -p "$work"
"""


def all_scripts(plan: Plan, settings: LocalExecution) -> Mapping[str, str]:
    """Return `run_all.sh`, and `serve.sh` where the spec serves the model."""
    deployment = plan.spec.deployment
    lines = [HEAD]
    texts = {}
    if not isinstance(deployment, NoDeployment):
        port = deployment.port or SERVED
        health = shlex.quote(f"http://127.0.0.1:{port}{deployment.endpoints.health}")
        patience = round(settings.endpoint_readiness_timeout)
        lines.append(SERVE.format(health=health, patience=patience))
        texts["serve.sh"] = "\n".join([SERVE_HEAD, *_serve(plan, deployment.type, deployment, settings, port)]) + "\n"
    lines += [f'"$here"/{shlex.quote(job.name)}/run.sh || status=$?' for job in plan.jobs]
    return {"run_all.sh": "\n".join([*lines, 'exit "$status"']) + "\n", **texts}


def _serve(plan: Plan, name: str, deployment: ServedDeployment, settings: LocalExecution, port: int) -> Iterator[str]:
    from nel_action.deployment.registry import server

    contained = (deployment.runtime or settings.runtime) == "docker"
    kind = server(name)
    binding = ServeBinding(
        host="127.0.0.1",
        port=port,
        work_dir=PurePosixPath("/work") if contained else HERE.work,
        checkpoint=_checkpoint(deployment, contained=contained),
    )
    command = kind.command(deployment, binding)
    yield from files(command.files)
    yield from exports({**plan.spec.env_vars, **deployment.env_vars}, Command(argv=command.argv, env=command.env))
    if contained:
        yield _container(plan, deployment, settings, command)
        return
    words = kind.requirements(deployment)
    if words:
        yield from requirements_lines(words, '"$work"/environment')
    yield 'cd "$work"'
    yield f"exec {' '.join(quote(word) for word in command.argv)}"


def _checkpoint(deployment: ServedDeployment, *, contained: bool) -> PurePosixPath | None:
    if not deployment.checkpoint_path:
        return None
    return PurePosixPath("/checkpoint") if contained else PurePosixPath(deployment.checkpoint_path)


def _container(plan: Plan, deployment: ServedDeployment, settings: LocalExecution, command: ServeCommand) -> str:
    names = dict.fromkeys([*plan.spec.env_vars, *deployment.env_vars, *command.env])
    words = [
        "--init --network host",
        *([f"--gpus {settings.gpus}"] if settings.gpus else []),
        *([" ".join(f"-e {name}" for name in names)] if names else []),
        '-v "$work:/work" -w /work',
        *([f"-v {shlex.quote(f'{deployment.checkpoint_path}:/checkpoint:ro')}"] if deployment.checkpoint_path else []),
        shlex.quote(deployment.image or ""),
        " ".join(shlex.quote(word) for word in command.argv),
    ]
    return "exec docker run --rm \\\n  " + " \\\n  ".join(words)
