"""How a call of the action ended, kept on disk so that the step after a kill still knows."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from nel_action.errors import ExitCode
from nel_action.files import write_atomically
from nel_action.gating.verdict import Verdict
from nel_action.github.inputs import OUTPUTS
from nel_action.report.model import Report

__all__ = ["Outcome", "State", "StateFile", "finished_outcome"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What the outputs are made of."""

    code: int = int(ExitCode.UNMEASURABLE)
    verdict: str = "none"
    """A verdict's word, or `none`."""
    invocation: str = ""
    state: str = "error"
    """`finished`, `running`, `cancelled` or `error`."""
    results: str = ""
    report: str = ""
    summary: str = ""

    def outputs(self) -> dict[str, str]:
        """Return every output; each is there in every ending."""
        values = (self.verdict, str(self.code), self.invocation, self.state, self.results, self.report, self.summary)
        return dict(zip(OUTPUTS, values, strict=True))


def finished_outcome(report: Report, run_dir: Path) -> Outcome:
    """Say how a judged invocation ended."""
    reason = f": {report.gate.reasons[0]}" if report.gate.reasons else ""
    return Outcome(
        code=report.gate.exit_code,
        verdict=report.gate.verdict.value,
        invocation=report.results.invocation,
        state="finished",
        results=str(run_dir / "results.json"),
        report=str(run_dir / "report.md"),
        summary=" ".join(f"{report.gate.verdict.value}{reason}".split()),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What the step that always runs must know."""

    outcome: Outcome = field(default_factory=Outcome)
    concluded: bool = False
    """Whether the call came to its own end; otherwise something ended it."""
    run_dir: str = ""
    others: tuple[str, ...] = ()
    """Run directories that the same call concluded before."""
    check_id: int | None = None
    head_sha: str = ""
    on_cancel: str = "keep"
    secrets: tuple[str, ...] = ()
    """Names of the variables that the spec takes secrets from; never their values."""
    outlives: bool = False
    """Whether jobs go on when this machine is gone."""
    crash: str = ""
    """What went wrong in this program itself, where something did."""

    @property
    def verdict(self) -> Verdict | None:
        """The verdict, if there is one."""
        return Verdict(self.outcome.verdict) if self.outcome.verdict in set(Verdict) else None


class StateFile:
    """The state of one gate of this job; written before anything is spent, and at each step."""

    def __init__(self, environ: Mapping[str, str], check_name: str) -> None:
        slug = re.sub(r"[^A-Za-z0-9]+", "-", check_name).strip("-").lower() or "gate"
        self.path = Path(environ.get("RUNNER_TEMP") or ".") / "nel-action" / f"state-{slug}.json"

    def read(self) -> State | None:
        """Return what was written last; None where nothing was, or nothing whole."""
        try:
            data: dict[str, Any] = json.loads(self.path.read_bytes())
            lists = {name: tuple(data[name]) for name in ("secrets", "others")}
            named = {"outcome": Outcome(**data["outcome"]), **lists}
            return State(**(data | named))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def update(self, **changes: Any) -> State:  # noqa: ANN401 - fields of `State`
        """Write the state with these changes."""
        before = self.read() or State()
        state = replace(before, **changes)
        if before.run_dir not in {"", state.run_dir}:
            state = replace(state, others=(*before.others, before.run_dir))
        write_atomically(self.path, json.dumps(asdict(state), indent=2).encode(), mode=0o600)
        return state

    def clear(self) -> None:
        """Forget an earlier call of the same job."""
        self.path.unlink(missing_ok=True)
