"""Options of `docker run` in `execution.extra_docker_args`: parsed, and accepted only if they keep a job isolated.

An option that is unknown, has no effect, or opens this machine to the job is rejected by name.
"""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NoReturn

from nel_action.errors import UsageError

__all__ = ["opens_machine", "parse_docker_args"]

KEY: Final = "execution.extra_docker_args"

ENGINE_SOCKETS: Final = (
    "/var/run/docker.sock",
    "/run/docker.sock",
    "/run/containerd/containerd.sock",
    "/run/podman/podman.sock",
    "/run/crio/crio.sock",
)
"""A program that can write to one of them controls the machine."""

SINGLE: Final[Mapping[str, tuple[str, Callable[[str], Any]]]] = {
    "--cpus": ("nano_cpus", lambda text: int(float(text) * 1e9)),
    "--cpuset-cpus": ("cpuset_cpus", str),
    "--entrypoint": ("entrypoint", str),
    "--hostname": ("hostname", str),
    "--ipc": ("ipc_mode", str),
    "--memory": ("mem_limit", str),
    "--network": ("network", str),
    "--pids-limit": ("pids_limit", int),
    "--platform": ("platform", str),
    "--runtime": ("runtime", str),
    "--shm-size": ("shm_size", str),
    "--user": ("user", str),
}
"""Option → argument of the engine's client, and how to parse the value."""

REPEATED: Final[Mapping[str, tuple[str, str | None]]] = {
    "--add-host": ("extra_hosts", ":"),
    "--device": ("devices", None),
    "--dns": ("dns", None),
    "--env": ("environment", "="),
    "--label": ("labels", "="),
    "--tmpfs": ("tmpfs", ":"),
    "--ulimit": ("ulimits", None),
    "--volume": ("volumes", None),
}
"""Repeatable option → argument of the engine's client, and the separator between a name and its value."""

SHORT: Final = {"--env": "-e", "--hostname": "-h", "--label": "-l", "--memory": "-m", "--user": "-u", "--volume": "-v"}

SWITCHES: Final = {"--read-only": ("read_only", True), "--rm": ("", True), "--init": ("", True)}
"""Options without a value; those without a name describe the default behaviour."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        msg = f"{KEY}: {message}"
        raise UsageError(msg)


def parse_docker_args(text: str) -> dict[str, Any]:
    """Parse options of `docker run` into arguments of the engine's client (`{"mem_limit": "8g"}`).

    Raises:
        UsageError: an option is unknown, not allowed, or has an invalid value; the message names it.
    """
    try:
        argv = shlex.split(text)
    except ValueError as error:
        msg = f"{KEY}: {error}"
        raise UsageError(msg) from error
    options, unknown = _parser().parse_known_args(argv)
    if options.ipc_mode == "host":
        msg = f"{KEY}: --ipc host would give the job the memory that programs of this machine share"
        raise UsageError(msg, hint="write --ipc private, and set execution.shm_size")
    if unknown and unknown[0].partition("=")[0] == "--gpus":
        msg = f"{KEY}: --gpus has no effect: a harness uses the model through its endpoint"
        raise UsageError(msg, hint="set execution.gpus for the containers of the deployment")
    if unknown:
        msg = f"{KEY}: the option {unknown[0]!r} is not supported"
        raise UsageError(msg, hint=f"supported are: {', '.join(sorted([*SINGLE, *REPEATED, *SWITCHES]))}")
    given = {name: value for name, value in vars(options).items() if value not in (None, False, []) and name}
    return {name: _structured(name, value) for name, value in given.items()}


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(add_help=False, allow_abbrev=False)
    for option, (name, parse) in SINGLE.items():
        parser.add_argument(*_spellings(option), dest=name, type=parse)
    for option, (name, _) in REPEATED.items():
        parser.add_argument(*_spellings(option), dest=name, action="append")
    for option, (name, _) in SWITCHES.items():
        parser.add_argument(option, dest=name, action="store_true")
    return parser


def _spellings(option: str) -> list[str]:
    if option == "--network":
        return [option, "--net"]
    return [option, SHORT[option]] if option in SHORT else [option]


def _structured(name: str, value: Any) -> Any:  # noqa: ANN401 any type that the engine's client takes
    """Convert the values of repeatable options to the types that the engine's client takes."""
    separator = next((separator for argument, separator in REPEATED.values() if argument == name), None)
    if separator is not None:
        return dict(_pair(name, text, separator) for text in value)
    match name:
        case "volumes":
            return [_volume(text) for text in value]
        case "ulimits":
            return [_ulimit(text) for text in value]
        case _:
            return value


def _pair(name: str, text: str, separator: str) -> tuple[str, str]:
    left, separated, right = text.partition(separator)
    if not separated and name == "environment":
        msg = f"{KEY}: --env {text} copies a value from this machine"
        raise UsageError(msg, hint=f"write env_vars: {{{text}: host:{text}}}, which keeps the value secret")
    return left, right


def _volume(text: str) -> str:
    parts: Sequence[str] = text.split(":")
    if len(parts) not in {2, 3} or not parts[0].startswith("/") or not parts[1].startswith("/"):
        msg = f"{KEY}: --volume {text} is not SOURCE:TARGET[:ro] with absolute paths"
        raise UsageError(msg)
    if opens_machine(parts[0]):
        msg = f"{KEY}: --volume {text} would give the job control of this machine"
        raise UsageError(msg)
    return text


def opens_machine(source: str) -> bool:
    """Return whether a mount of this path gives a job control of the machine: the root, or the engine's socket."""
    path = Path(os.path.realpath(source))
    sockets = (Path(os.path.realpath(socket)) for socket in (*ENGINE_SOCKETS, _engine_socket()) if socket)
    names = {Path(socket).name for socket in ENGINE_SOCKETS}
    named = path.name in names or "docker.sock" in source or any((path / name).exists() for name in names)
    return named or path == Path("/") or any(socket.is_relative_to(path) for socket in sockets)


def _engine_socket() -> str:
    host = os.environ.get("DOCKER_HOST", "")
    return host.removeprefix("unix://") if host.startswith("unix://") else ""


def _ulimit(text: str) -> dict[str, Any]:
    name, _, limits = text.partition("=")
    soft, _, hard = limits.partition(":")
    try:
        return {"name": name, "soft": int(soft), "hard": int(hard or soft)}
    except ValueError:
        msg = f"{KEY}: --ulimit {text} is not NAME=SOFT[:HARD]"
        raise UsageError(msg) from None
