"""The action's inputs and the names of its outputs; a test compares them with `action.yml` and `docs/actions.md`."""

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
from nel_action.github.sticky import CommentMode

__all__ = ["DEFAULTS", "OUTPUTS", "FailOn", "Inputs", "Mode", "OnCancel", "parse_inputs", "read_inputs"]

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
"""Default value of each input."""

OUTPUTS: Final = ("verdict", "exit-code", "invocation-id", "state", "results-path", "report-path", "summary")


class Mode(StrEnum):
    """What a call of the action does."""

    RUN = "run"
    SUBMIT = "submit"
    COLLECT = "collect"


class OnCancel(StrEnum):
    """What happens to jobs when the workflow is cancelled."""

    KEEP = "keep"
    CANCEL = "cancel"


class FailOn(StrEnum):
    """Results that can fail the step; an invalid spec and a cancellation always fail it."""

    FAIL = "fail"
    INCONCLUSIVE = "inconclusive"
    UNMEASURABLE = "unmeasurable"
    RUNNING = "running"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """The validated inputs."""

    spec: Path | None
    config_dir: Path | None
    config_name: str | None
    overrides: tuple[str, ...]
    mode: Mode
    max_wait: float
    """Seconds."""
    gate: bool | Path
    """Whether to apply the spec's policy, or the path of another policy."""
    baseline: str | None
    comment: CommentMode
    check_name: str
    """Empty for no check."""
    fail_on: frozenset[FailOn]
    exporters: tuple[str, ...] | None
    """None for the exporters of the spec."""
    history_branch: str | None
    on_cancel: OnCancel

    def should_fail(self, code: ExitCode, verdict: Verdict | None) -> bool:
        """Return whether the step fails.

        Args:
            code: exit code of the evaluation.
            verdict: of the gate; None if there is none.
        """
        if code in {ExitCode.USAGE, ExitCode.CANCELLED}:
            return True
        if code is ExitCode.RUNNING:
            return self.mode is Mode.RUN and FailOn.RUNNING in self.fail_on
        if code is ExitCode.FAIL and verdict is Verdict.INCONCLUSIVE:
            return bool({FailOn.FAIL, FailOn.INCONCLUSIVE} & self.fail_on)
        if code is ExitCode.PASS and verdict is not Verdict.INCONCLUSIVE:
            return False
        causes = {
            ExitCode.FAIL: FailOn.FAIL,
            ExitCode.UNMEASURABLE: FailOn.UNMEASURABLE,
            ExitCode.INCONCLUSIVE: FailOn.INCONCLUSIVE,
            ExitCode.PASS: FailOn.INCONCLUSIVE,
        }
        return causes[code] in self.fail_on


Choice = TypeVar("Choice", bound=StrEnum)


def read_inputs(environ: Mapping[str, str], *, spec_needed: bool = True) -> Inputs:
    """Read and validate the inputs.

    Args:
        environ: variables `INPUT_…`; empty values mean the default.
        spec_needed: report a missing spec, except in mode `collect`.

    Raises:
        SpecError: inputs are invalid; the error lists all of them.
    """
    inputs, problems = parse_inputs(environ, spec_needed=spec_needed)
    if problems:
        raise SpecError(problems)
    return inputs


def parse_inputs(environ: Mapping[str, str], *, spec_needed: bool = True) -> tuple[Inputs, list[Problem]]:
    """Return the inputs, with defaults for invalid ones, and all problems.

    Args:
        environ: variables `INPUT_…`; empty values mean the default.
        spec_needed: report a missing spec, except in mode `collect`.
    """
    problems: list[Problem] = []
    values = {
        name: environ.get(f"INPUT_{name.upper().replace('-', '_')}", "").strip() or default
        for name, default in DEFAULTS.items()
    }

    def choose(name: str, kind: type[Choice]) -> Choice:
        return _parse_choice(name, values[name], kind, problems)

    gate = values["gate"].lower()
    inputs = Inputs(
        spec=Path(values["spec"]) if values["spec"] else None,
        config_dir=Path(values["config-dir"]) if values["config-dir"] else None,
        config_name=values["config-name"] or None,
        overrides=_parse_overrides(values["overrides"], problems),
        mode=choose("mode", Mode),
        max_wait=_parse_duration("max-wait", values["max-wait"], problems),
        gate=gate in {"", "true"} if gate in {"", "true", "false"} else Path(values["gate"]),
        baseline=values["baseline"] or None,
        comment=choose("comment", CommentMode),
        check_name="" if values["check-name"].lower() == "off" else values["check-name"],
        fail_on=_parse_fail_on(values["fail-on"], problems),
        exporters=_parse_exporters(values["exporters"]),
        history_branch=values["history-branch"] or None,
        on_cancel=choose("on-cancel", OnCancel),
    )
    if spec_needed and inputs.mode is not Mode.COLLECT and not (inputs.spec or inputs.config_name):
        problems.append(Problem("no spec is given", hint="set the input `spec`, or `config-dir` and `config-name`"))
    if inputs.spec and inputs.config_name:
        problems.append(Problem("both `spec` and `config-name` are set", hint="set one of them"))
    return inputs, problems


def _parse_choice(name: str, value: str, kind: type[Choice], problems: list[Problem]) -> Choice:
    if value in set(kind):
        return kind(value)
    problems.append(Problem(f"unknown value of the input `{name}`: '{value}'", hint=f"use one of {', '.join(kind)}"))
    return next(iter(kind))


def _parse_overrides(text: str, problems: list[Problem]) -> tuple[str, ...]:
    """Split at whitespace outside quotes, like a shell, but without expansion."""
    try:
        return tuple(shlex.split(text, comments=False))
    except ValueError as error:
        problems.append(Problem(f"the input `overrides` cannot be parsed: {error}", hint="close every quote"))
        return ()


def _parse_duration(name: str, text: str, problems: list[Problem]) -> float:
    """Parse `90`, `90s`, `45m`, `5h30m` or `1d` into seconds."""
    match = re.fullmatch(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s?)?", text)
    if not text or not match:
        message = f"invalid duration in the input `{name}`: '{text}'"
        problems.append(Problem(message, hint="write it like 90, 45m or 5h30m"))
        return 0.0
    parts = (int(part or 0) for part in match.groups())
    return float(sum(part * unit for part, unit in zip(parts, (86400, 3600, 60, 1), strict=True)))


def _parse_fail_on(text: str, problems: list[Problem]) -> frozenset[FailOn]:
    names = _split(text)
    if names == ("never",):
        return frozenset()
    return frozenset(_parse_choice("fail-on", name, FailOn, problems) for name in names)


def _parse_exporters(text: str) -> tuple[str, ...] | None:
    names = _split(text)
    return None if not names else () if names == ("none",) else names


def _split(text: str) -> tuple[str, ...]:
    """Split at whitespace and commas."""
    return tuple(name for name in re.split(r"[\s,]+", text) if name)
