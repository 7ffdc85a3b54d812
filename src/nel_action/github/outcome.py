"""Outcome of an action call, and the state file that passes it from the main step to the final step."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from nel_action.errors import ExitCode
from nel_action.files import write_atomically
from nel_action.gating.verdict import Verdict
from nel_action.github.inputs import OUTPUTS
from nel_action.model.file_names import file_name
from nel_action.model.run_files import RunFiles
from nel_action.report.model import Report

__all__ = ["Outcome", "State", "StateFile", "finished_outcome"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """Values of the action's outputs."""

    code: int = int(ExitCode.UNMEASURABLE)
    verdict: str = "none"
    """A verdict, or `none`."""
    invocation: str = ""
    state: str = "error"
    """`finished`, `running`, `cancelled` or `error`."""
    results: str = ""
    report: str = ""
    summary: str = ""

    def outputs(self) -> dict[str, str]:
        """Return all outputs."""
        values = (self.verdict, str(self.code), self.invocation, self.state, self.results, self.report, self.summary)
        return dict(zip(OUTPUTS, values, strict=True))


def finished_outcome(report: Report, run_dir: Path) -> Outcome:
    """Return the outcome of a judged invocation.

    Args:
        report: results and verdict.
        run_dir: directory of the report's files.
    """
    reason = f": {report.gate.reasons[0]}" if report.gate.reasons else ""
    files = RunFiles(run_dir)
    return Outcome(
        code=report.gate.exit_code,
        verdict=report.gate.verdict.value,
        invocation=report.results.invocation,
        state="finished",
        results=str(files.results),
        report=str(files.report_markdown),
        summary=" ".join(f"{report.gate.verdict.value}{reason}".split()),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """Information that the final step needs, also if the main step was killed."""

    outcome: Outcome = field(default_factory=Outcome)
    concluded: bool = False
    """Whether the main step completed; False if it was killed."""
    run_dir: str = ""
    others: tuple[str, ...] = ()
    """Directories of runs that the same call concluded before `run_dir`."""
    check_id: int | None = None
    check_identity: str = ""
    """Identity of the gate, whose inputs the final step does not have."""
    head_sha: str = ""
    event: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the event of an accepted command, which the payload does not contain; without the payload."""
    on_cancel: str = "keep"
    secrets: tuple[str, ...] = ()
    """Names of the variables that contain the spec's secrets; never their values."""
    outlives: bool = False
    """Whether the jobs keep running after this machine is shut down."""
    crash: str = ""
    """Type and message of an unexpected exception."""

    @property
    def verdict(self) -> Verdict | None:
        """The verdict, or None."""
        return Verdict(self.outcome.verdict) if self.outcome.verdict in set(Verdict) else None


class StateFile:
    """The state of one gate in one job, rewritten at each step."""

    def __init__(self, environ: Mapping[str, str], check_name: str) -> None:
        self.path = Path(environ.get("RUNNER_TEMP") or ".") / "nel-action" / f"state-{file_name(check_name)}.json"

    def read(self) -> State | None:
        """Return the state; None if the file does not exist or is malformed."""
        try:
            data: dict[str, Any] = json.loads(self.path.read_bytes())
            lists = {name: tuple(data[name]) for name in ("secrets", "others")}
            return State(**(data | {"outcome": Outcome(**data["outcome"]), **lists}))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def update(self, **changes: Any) -> State:  # noqa: ANN401 - fields of `State`
        """Write the state with these changes; a previous `run_dir` is moved to `others`."""
        before = self.read() or State()
        state = replace(before, **changes)
        if before.run_dir not in {"", state.run_dir}:
            state = replace(state, others=(*before.others, before.run_dir))
        write_atomically(self.path, json.dumps(asdict(state), indent=2).encode(), mode=0o600)
        return state

    def clear(self) -> None:
        """Delete the state of an earlier call in the same job."""
        self.path.unlink(missing_ok=True)
