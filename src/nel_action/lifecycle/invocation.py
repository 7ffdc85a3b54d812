"""One run of a plan, as it lies on disk: enough to run it again exactly, or to take it up elsewhere.

OUTPUT_DIR/2026-11-22-10-30-45-<invocation>/
    spec.yaml           the resolved spec, secrets by name
    plan.json           every job
    invocation.json     who and when, and every attempt so far
    <task>/             scripts, artifacts, logs
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from nel_action.errors import NotFoundError, ResultsError
from nel_action.files import write_atomically
from nel_action.ledger import AttemptRow, InvocationRow, Ledger, now
from nel_action.planning.jobs import Context, Job, Plan
from nel_action.spec.model import Spec
from nel_action.version import __version__

__all__ = ["Invocation", "create", "load", "open_invocation", "write_plan", "write_record"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """One run of a plan."""

    id: str
    """16 hex digits."""
    created: str
    """RFC 3339, UTC."""
    run_dir: Path
    source: str
    """Path of the spec as it was given."""
    base_dir: Path
    """Folder that the spec's relative paths start from."""
    spec_digest: str
    """SHA-256 of the resolved spec."""
    plan: Plan

    @property
    def executor(self) -> str:
        """The word in `execution.type`."""
        return self.plan.spec.execution.type

    def row(self) -> InvocationRow:
        """Return its entry in the ledger."""
        return InvocationRow(
            id=self.id, created=self.created, run_dir=self.run_dir, spec=self.source, executor=self.executor
        )

    def job_dir(self, job: Job) -> Path:
        """Return where a job's scripts, artifacts and logs lie."""
        return self.run_dir / job.name


def create(
    plan: Plan,
    *,
    source: Path,
    base_dir: Path,
    resolved: Mapping[str, Any],
    digest: str,
    output_dir: Path | None = None,
) -> Invocation:
    """Make the run directory of a new invocation, with everything in it that says what is about to run."""
    import yaml

    identity = secrets.token_hex(8)
    stamp = datetime.now(UTC).strftime("%Y-%m-%d-%H-%M-%S")
    run_dir = (output_dir or Path(plan.spec.execution.runs_folder)).absolute() / f"{stamp}-{identity}"
    invocation = Invocation(
        id=identity,
        created=now(),
        run_dir=run_dir,
        source=str(source),
        base_dir=base_dir,
        spec_digest=digest,
        plan=plan,
    )
    text = yaml.safe_dump(dict(resolved), sort_keys=False, allow_unicode=True)
    write_atomically(run_dir / "spec.yaml", text.encode())
    write_plan(invocation)
    write_record(invocation, ())
    return invocation


def write_plan(invocation: Invocation) -> None:
    """Write `plan.json`, whole or not at all."""
    write_atomically(invocation.run_dir / "plan.json", _plan_json(invocation.plan))


def write_record(invocation: Invocation, attempts: Sequence[AttemptRow]) -> None:
    """Write `invocation.json`, so that a machine with another ledger can take the invocation up."""
    data = {
        "schema_version": "1.0",
        "invocation": invocation.id,
        "created": invocation.created,
        "tool_version": __version__,
        "spec": invocation.source,
        "base_dir": str(invocation.base_dir),
        "spec_digest": invocation.spec_digest,
        "executor": invocation.executor,
        "attempts": [asdict(row) for row in attempts],
    }
    write_atomically(invocation.run_dir / "invocation.json", (json.dumps(data, indent=2) + "\n").encode())


def open_invocation(prefix: str, ledger: Ledger) -> Invocation:
    """Take up an invocation by its id's beginning or by its run directory.

    Raises:
        NotFoundError: there is none, or its directory is gone.
        ResultsError: its directory holds less than it should.
    """
    path = Path(prefix)
    if not (path / "invocation.json").is_file():
        path = ledger.invocation(prefix).run_dir
    if not path.is_dir():
        msg = f"the run directory {path} is gone"
        raise NotFoundError(msg, hint="without it nothing says what was run; run the spec again")
    invocation, attempts = load(path.absolute())
    ledger.add(invocation.row(), attempts)
    return invocation


def load(run_dir: Path) -> tuple[Invocation, list[AttemptRow]]:
    """Read a run directory back.

    Raises:
        ResultsError: a file is missing or malformed.
    """
    try:
        record = json.loads((run_dir / "invocation.json").read_bytes())
        plan = _read_plan((run_dir / "plan.json").read_bytes())
        invocation = Invocation(
            id=record["invocation"],
            created=record["created"],
            run_dir=run_dir,
            source=record["spec"],
            base_dir=Path(record["base_dir"]),
            spec_digest=record["spec_digest"],
            plan=plan,
        )
        return invocation, [AttemptRow.parse(row) for row in record["attempts"]]
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        msg = f"{run_dir} is not a whole run directory: {error}"
        raise ResultsError(msg) from error


def _plan_json(plan: Plan) -> bytes:
    data = {
        "schema_version": "1.0",
        "spec": plan.spec.model_dump(mode="json"),
        "context": TypeAdapter(Context).dump_python(plan.context, mode="json"),
        "jobs": TypeAdapter(tuple[Job, ...]).dump_python(plan.jobs, mode="json"),
    }
    return (json.dumps(data, indent=2) + "\n").encode()


def _read_plan(data: bytes) -> Plan:
    parts = json.loads(data)
    return Plan(
        spec=Spec.model_validate_json(json.dumps(parts["spec"])),
        context=TypeAdapter(Context).validate_json(json.dumps(parts["context"])),
        jobs=TypeAdapter(tuple[Job, ...]).validate_json(json.dumps(parts["jobs"])),
    )
