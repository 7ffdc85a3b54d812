"""`execution.extra_docker_args`: flags of `docker run`, turned into what the engine is asked for.

Only flags that keep a job apart from this machine are known; every other one is refused by its name.
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NoReturn

from nel_action.errors import UsageError

__all__ = ["parse"]

KEY: Final = "execution.extra_docker_args"

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
"""Flag → what the engine calls it, and how to read its value."""

REPEATED: Final[Mapping[str, tuple[str, str | None]]] = {
    "--add-host": ("extra_hosts", ":"),
    "--device": ("devices", None),
    "--dns": ("dns", None),
    "--env": ("environment", "="),
    "--gpus": ("gpus", None),
    "--label": ("labels", "="),
    "--tmpfs": ("tmpfs", ":"),
    "--ulimit": ("ulimits", None),
    "--volume": ("volumes", None),
}
"""The same for flags that may come several times; the sign parts a name from its value."""

SHORT: Final = {"--env": "-e", "--hostname": "-h", "--label": "-l", "--memory": "-m", "--user": "-u", "--volume": "-v"}

SWITCHES: Final = {"--read-only": ("read_only", True), "--rm": ("", True), "--init": ("", True)}
"""Flags without a value; those without a name are what is done anyway."""


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        msg = f"{KEY}: {message}"
        raise UsageError(msg)


def parse(text: str) -> dict[str, Any]:
    """Return the flags as arguments for the engine (`{"mem_limit": "8g", "environment": {"A": "1"}}`).

    Raises:
        UsageError: a flag is not known, is not allowed, or has no good value; it is named.
    """
    try:
        words = shlex.split(text)
    except ValueError as error:
        msg = f"{KEY}: {error}"
        raise UsageError(msg) from error
    found, others = _parser().parse_known_args(words)
    if others:
        msg = f"{KEY}: {others[0]!r} has no counterpart here"
        raise UsageError(msg, hint=f"known are: {', '.join(sorted([*SINGLE, *REPEATED, *SWITCHES]))}")
    given = {name: value for name, value in vars(found).items() if value not in (None, False, []) and name}
    return {name: _structured(name, value) for name, value in given.items()}


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(add_help=False, allow_abbrev=False)
    for flag, (name, read) in SINGLE.items():
        parser.add_argument(*_spellings(flag), dest=name, type=read)
    for flag, (name, _) in REPEATED.items():
        parser.add_argument(*_spellings(flag), dest=name, action="append")
    for flag, (name, _) in SWITCHES.items():
        parser.add_argument(flag, dest=name, action="store_true")
    return parser


def _spellings(flag: str) -> list[str]:
    return [flag, SHORT[flag]] if flag in SHORT else [flag, "--net"] if flag == "--network" else [flag]


def _structured(name: str, value: Any) -> Any:  # noqa: ANN401 whatever the engine takes
    """Turn repeated flags into the shape that the engine's client takes."""
    sign = next((sign for known, sign in REPEATED.values() if known == name), None)
    if sign is not None:
        return dict(_pair(name, text, sign) for text in value)
    match name:
        case "volumes":
            return [_volume(text) for text in value]
        case "ulimits":
            return [_ulimit(text) for text in value]
        case "gpus":
            return value[-1]
        case _:
            return value


def _pair(name: str, text: str, sign: str) -> tuple[str, str]:
    left, found, right = text.partition(sign)
    if not found and name == "environment":
        msg = f"{KEY}: --env {text} takes a value from this machine"
        raise UsageError(msg, hint=f"write env_vars: {{{text}: host:{text}}}; such values are kept secret")
    return left, right


def _volume(text: str) -> str:
    parts: Sequence[str] = text.split(":")
    if len(parts) not in {2, 3} or not parts[0].startswith("/") or not parts[1].startswith("/"):
        msg = f"{KEY}: --volume {text} is not FOLDER:PLACE[:ro], both from the root"
        raise UsageError(msg)
    if "docker.sock" in parts[0]:
        msg = f"{KEY}: --volume {text} would hand the whole machine to the job"
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
