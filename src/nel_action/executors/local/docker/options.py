"""Options of `docker run` in `execution.extra_docker_args`: parsed, and accepted only if they keep a job isolated.

An option that is unknown, has no effect, or opens this machine to the job is rejected by name.
"""

from __future__ import annotations

import argparse
import os
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NoReturn

from nel_action.errors import UsageError
from nel_action.executors.local.docker.isolation import Opening, allowed, opening_mount

__all__ = ["parse_docker_args"]

KEY: Final = "execution.extra_docker_args"

SINGLE: Final[Mapping[str, tuple[str, Callable[[str], Any]]]] = {
    "--cgroupns": ("cgroupns", str),
    "--cpus": ("nano_cpus", lambda text: int(float(text) * 1e9)),
    "--cpuset-cpus": ("cpuset_cpus", str),
    "--entrypoint": ("entrypoint", str),
    "--hostname": ("hostname", str),
    "--ipc": ("ipc_mode", str),
    "--memory": ("mem_limit", str),
    "--network": ("network", str),
    "--pid": ("pid_mode", str),
    "--pids-limit": ("pids_limit", int),
    "--platform": ("platform", str),
    "--runtime": ("runtime", str),
    "--shm-size": ("shm_size", str),
    "--user": ("user", str),
    "--userns": ("userns_mode", str),
    "--uts": ("uts_mode", str),
}
"""Option → argument of the engine's client, and how to parse the value."""

REPEATED: Final[Mapping[str, tuple[str, str | None]]] = {
    "--add-host": ("extra_hosts", ":"),
    "--cap-add": ("cap_add", None),
    "--device": ("devices", None),
    "--device-cgroup-rule": ("device_cgroup_rules", None),
    "--dns": ("dns", None),
    "--env": ("environment", "="),
    "--group-add": ("group_add", None),
    "--label": ("labels", "="),
    "--security-opt": ("security_opt", None),
    "--tmpfs": ("tmpfs", ":"),
    "--ulimit": ("ulimits", None),
    "--volume": ("volumes", None),
}
"""Repeatable option → argument of the engine's client, and the separator between a name and its value."""

SHORT: Final = {"--env": "-e", "--hostname": "-h", "--label": "-l", "--memory": "-m", "--user": "-u", "--volume": "-v"}

SWITCHES: Final = {
    "--init": ("", True),
    "--privileged": ("privileged", True),
    "--read-only": ("read_only", True),
    "--rm": ("", True),
}
"""Options without a value; those without a name describe the default behaviour."""


OPENINGS: Final[Mapping[str, Opening]] = {
    "--privileged": Opening("privileges", "all rights on this machine"),
    "--cap-add": Opening("privileges", "rights beyond those of its user"),
    "--security-opt": Opening("privileges", "system calls that are blocked otherwise"),
    "--group-add": Opening("privileges", "the rights of another group, which may own a socket of the engine"),
    "--device": Opening("devices", "a device of this machine"),
    "--device-cgroup-rule": Opening("devices", "devices of this machine"),
    "--pid": Opening("namespaces", "the processes of this machine or of another container"),
    "--ipc": Opening("namespaces", "the memory that programs of this machine or of another container share"),
    "--uts": Opening("namespaces", "the host name of this machine"),
    "--userns": Opening("namespaces", "the user IDs of this machine"),
    "--cgroupns": Opening("namespaces", "the control groups of this machine"),
}
"""Option → what it opens; the namespaces with a value that is private to the container do not open anything."""

PRIVATE: Final = frozenset({"private", "none", "shareable"})
"""Values of the options of namespaces that do not open anything."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        msg = f"{KEY}: {message}"
        raise UsageError(msg)


def parse_docker_args(text: str, environ: Mapping[str, str] = os.environ) -> dict[str, Any]:
    """Parse options of `docker run` into arguments of the engine's client (`{"mem_limit": "8g"}`).

    Args:
        text: the options, quoted like in a shell.
        environ: variables of this process; NEL_ACTION_ALLOW is the permission of the runner's owner.

    Raises:
        UsageError: an option is unknown, not allowed, or has an invalid value; the message names it.
    """
    try:
        argv = shlex.split(text)
    except ValueError as error:
        msg = f"{KEY}: {error}"
        raise UsageError(msg) from error
    options, unknown = _parser().parse_known_args(argv)
    if unknown and unknown[0].partition("=")[0] == "--gpus":
        msg = f"{KEY}: --gpus has no effect: a harness uses the model through its endpoint"
        raise UsageError(msg, hint="set execution.gpus for the containers of the deployment")
    if unknown:
        msg = f"{KEY}: the option {unknown[0]!r} is not supported"
        raise UsageError(msg, hint=f"supported are: {', '.join(sorted({*SINGLE, *REPEATED, *SWITCHES} - {*OPENINGS}))}")
    given = {name: value for name, value in vars(options).items() if value not in (None, False, []) and name}
    _check_openings(given, environ)
    return {name: _structured(name, value) for name, value in given.items()}


def _check_openings(given: Mapping[str, Any], environ: Mapping[str, str]) -> None:
    """Reject the first option that opens this machine.

    Raises:
        UsageError: an option is not allowed, or the permission of the runner's owner is not valid.
    """
    names = {option: name for option, (name, _) in [*SINGLE.items(), *REPEATED.items(), *SWITCHES.items()]}
    for option, opening in OPENINGS.items():
        value = given.get(names[option])
        values = [value] if isinstance(value, str) else value or []
        for text in [""] if value is True else values:
            if text not in PRIVATE:
                _reject(f"{option} {text}".rstrip(), opening, environ)
    for text in given.get("volumes", ()):
        if (mount := opening_mount(text.partition(":")[0], environ)) is not None:
            _reject(f"--volume {text}", mount, environ)


def _reject(option: str, opening: Opening, environ: Mapping[str, str]) -> None:
    if opening.word not in allowed(environ):
        msg = f"{KEY}: {option} would give the job {opening.reason}"
        raise UsageError(msg, hint=opening.hint)


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
    return text


def _ulimit(text: str) -> dict[str, Any]:
    name, _, limits = text.partition("=")
    soft, _, hard = limits.partition(":")
    try:
        return {"name": name, "soft": int(soft), "hard": int(hard or soft)}
    except ValueError:
        msg = f"{KEY}: --ulimit {text} is not NAME=SOFT[:HARD]"
        raise UsageError(msg) from None
