"""The action's inputs and outputs. `action.yml` and `docs/actions.md` hold the same names; a test keeps it so."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final, TypeVar

from nel_action.errors import ExitCode, Problem, SpecError
from nel_action.gating.verdict import Verdict
from nel_action.github.comment import CommentMode

__all__ = ["DEFAULTS", "OUTPUTS", "Ending", "Inputs", "Mode", "OnCancel", "read_inputs"]

DEFAULTS: Final[Mapping[str, str]] = {
    "spec": "",
    "config-dir": "",
    "config-name": "",
    "overrides": "",
    "mode": "run",
    "max-wait": "5h30m",
    "gate": "",
    "baseline": "",
    "comment": "always",
    "check-name": "Benchmark gate",
    "fail-on": "fail, unmeasurable, running",
    "exporters": "",
    "history-branch": "",
    "on-cancel": "keep",
    "github-token": "",
    "version": "",
    "working-directory": ".",
}
"""Input → what it is where nobody says."""

OUTPUTS: Final = ("verdict", "exit-code", "invocation-id", "state", "results-path", "report-path", "summary")


class Mode(StrEnum):
    """What a call of the action is for."""

    RUN = "run"
    SUBMIT = "submit"
    COLLECT = "collect"


class OnCancel(StrEnum):
    """What becomes of jobs when the workflow is cancelled."""

    KEEP = "keep"
    CANCEL = "cancel"


class Ending(StrEnum):
    """What can make the step fail. A wrong spec and a cancel always do."""

    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    UNMEASURABLE = "unmeasurable"
    RUNNING = "running"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What the workflow asks for."""

    spec: Path | None
    config_dir: Path | None
    config_name: str | None
    overrides: tuple[str, ...]
    mode: Mode
    max_wait: float
    """Seconds."""
    gate: bool | Path
    """Whether to judge by the spec's policy; or another policy's file."""
    baseline: str | None
    comment: CommentMode
    check_name: str
    """Empty for no check."""
    fail_on: frozenset[Ending]
    exporters: tuple[str, ...] | None
    """None means those of the spec."""
    history_branch: str | None
    on_cancel: OnCancel

    def fails(self, code: ExitCode, verdict: Verdict | None) -> bool:
        """Say whether this end makes the step fail."""
        if code in {ExitCode.USAGE, ExitCode.CANCELLED}:
            return True
        if code is ExitCode.RUNNING:
            return self.mode is Mode.RUN and Ending.RUNNING in self.fail_on
        if code is ExitCode.FAIL and verdict is Verdict.INCONCLUSIVE:
            return bool({Ending.FAIL, Ending.INCONCLUSIVE} & self.fail_on)
        if code is ExitCode.PASS and verdict is not Verdict.INCONCLUSIVE:
            return False
        named = {
            ExitCode.FAIL: Ending.FAIL,
            ExitCode.UNMEASURABLE: Ending.UNMEASURABLE,
            ExitCode.INCONCLUSIVE: Ending.INCONCLUSIVE,
            ExitCode.PASS: Ending.INCONCLUSIVE,
        }
        return named[code] in self.fail_on


Choice = TypeVar("Choice", bound=StrEnum)


def read_inputs(environ: Mapping[str, str], *, spec_needed: bool = True) -> Inputs:
    """Read the inputs from `INPUT_…` variables; all that is wrong is told at once.

    Args:
        environ: the variables.
        spec_needed: whether the caller is going to read a spec.

    Raises:
        SpecError: an input has a value that means nothing.
    """
    problems: list[Problem] = []
    given = {name: environ.get(f"INPUT_{name.upper().replace('-', '_')}", "").strip() for name in DEFAULTS}
    said = {name: value or DEFAULTS[name] for name, value in given.items()}

    def choose(name: str, kind: type[Choice]) -> Choice:
        return _choice(name, said[name], kind, problems)

    inputs = Inputs(
        spec=Path(said["spec"]) if said["spec"] else None,
        config_dir=Path(said["config-dir"]) if said["config-dir"] else None,
        config_name=said["config-name"] or None,
        overrides=_words("overrides", said["overrides"], problems),
        mode=choose("mode", Mode),
        max_wait=_seconds("max-wait", said["max-wait"], problems),
        gate=said["gate"].lower() in {"", "true"}
        if said["gate"].lower() in {"", "true", "false"}
        else Path(said["gate"]),
        baseline=said["baseline"] or None,
        comment=choose("comment", CommentMode),
        check_name="" if said["check-name"].lower() == "off" else said["check-name"],
        fail_on=_endings(said["fail-on"], problems),
        exporters=_exporters(said["exporters"]),
        history_branch=said["history-branch"] or None,
        on_cancel=choose("on-cancel", OnCancel),
    )
    if spec_needed and inputs.mode is not Mode.COLLECT and not (inputs.spec or inputs.config_name):
        problems.append(Problem("no spec is given", hint="set the input `spec`, or `config-dir` and `config-name`"))
    if inputs.spec and inputs.config_name:
        problems.append(Problem("both `spec` and `config-name` are given", hint="give one of them"))
    if problems:
        raise SpecError(problems)
    return inputs


def _choice(name: str, value: str, kind: type[Choice], problems: list[Problem]) -> Choice:
    if value in set(kind):
        return kind(value)
    problems.append(Problem(f"the input `{name}` is '{value}'", hint=f"it can be {', '.join(kind)}"))
    return next(iter(kind))


def _words(name: str, text: str, problems: list[Problem]) -> tuple[str, ...]:
    """Part at blanks and line ends, quotes kept together, as a shell would; nothing is expanded."""
    try:
        return tuple(shlex.split(text, comments=False))
    except ValueError as error:
        problems.append(Problem(f"the input `{name}` cannot be read: {error}", hint="close every quote"))
        return ()


def _seconds(name: str, text: str, problems: list[Problem]) -> float:
    """Read `90`, `90s`, `45m`, `5h30m` or `1d`."""
    match = re.fullmatch(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?", text)
    if not text or not match:
        problems.append(Problem(f"the input `{name}` is '{text}'", hint="write it like 90, 45m or 5h30m"))
        return 0.0
    parts = (int(part or 0) for part in match.groups())
    return float(sum(part * unit for part, unit in zip(parts, (86400, 3600, 60, 1), strict=True)))


def _endings(text: str, problems: list[Problem]) -> frozenset[Ending]:
    words = [word for word in re.split(r"[\s,]+", text) if word]
    if words == ["never"]:
        return frozenset()
    return frozenset(_choice("fail-on", word, Ending, problems) for word in words)


def _exporters(text: str) -> tuple[str, ...] | None:
    words = tuple(word for word in re.split(r"[\s,]+", text) if word)
    return None if not words else () if words == ("none",) else words
