"""An invocation on disk: what is needed to repeat it exactly, or to continue it on another machine.

OUTPUT_DIR/2026-11-22-10-30-45-<invocation>/
    spec.yaml           the resolved spec, secrets by name
    plan.json           all jobs
    invocation.json     ID, times, and every attempt so far
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
from nel_action.model.baseline import PinnedBaseline
from nel_action.model.run_files import RunFiles
from nel_action.planning.jobs import Context, Job, Plan
from nel_action.spec.model import Spec
from nel_action.version import __version__

__all__ = ["Invocation", "create", "load", "open_invocation", "write_plan", "write_record"]

_SCHEMA_VERSION = "1.0"


@dataclass(frozen=True, slots=True, kw_only=True)
class Invocation:
    """One run of a plan."""

    id: str
    """16 hex digits."""
    created: str
    """RFC 3339, UTC."""
    run_dir: Path
    source: str
    """Path of the spec, as the user gave it."""
    base_dir: Path
    """Directory that relative paths in the spec start from."""
    spec_digest: str
    """SHA-256 of the resolved spec."""
    plan: Plan

    @property
    def executor(self) -> str:
        """The spec's `execution.type`."""
        return self.plan.spec.execution.type

    @property
    def files(self) -> RunFiles:
        """Paths of the files in the run directory."""
        return RunFiles(self.run_dir)

    def row(self) -> InvocationRow:
        """Return the ledger's row of this invocation."""
        return InvocationRow(
            id=self.id, created=self.created, run_dir=self.run_dir, spec=self.source, executor=self.executor
        )

    def job_id(self, job: Job) -> str:
        """Return `<invocation>.<n>`."""
        return f"{self.id}.{job.index}"

    def job_dir(self, job: Job) -> Path:
        """Return the directory of a job's scripts, artifacts and logs."""
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
    """Create the run directory of a new invocation and write `spec.yaml`, `plan.json` and `invocation.json`.

    Args:
        plan: the jobs.
        source: path of the spec, as the user gave it.
        base_dir: directory that relative paths in the spec start from.
        resolved: the resolved spec.
        digest: SHA-256 of the resolved spec.
        output_dir: parent of the run directory; that of the spec by default.
    """
    import yaml

    identity = secrets.token_hex(8)
    stamp = datetime.now(UTC).strftime("%Y-%m-%d-%H-%M-%S")
    run_dir = (output_dir or Path(plan.spec.execution.run_dirs_parent)).absolute() / f"{stamp}-{identity}"
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
    write_atomically(invocation.files.spec, text.encode())
    write_plan(invocation)
    write_record(invocation, ())
    return invocation


def write_plan(invocation: Invocation) -> None:
    """Replace `plan.json` atomically."""
    write_atomically(invocation.files.plan, _plan_json(invocation.plan))


def write_record(invocation: Invocation, attempts: Sequence[AttemptRow]) -> None:
    """Replace `invocation.json` atomically; it lets a machine with another ledger continue the invocation."""
    data = {
        "schema_version": _SCHEMA_VERSION,
        "invocation": invocation.id,
        "created": invocation.created,
        "tool_version": __version__,
        "spec": invocation.source,
        "base_dir": str(invocation.base_dir),
        "spec_digest": invocation.spec_digest,
        "executor": invocation.executor,
        "attempts": [asdict(row) for row in attempts],
    }
    write_atomically(invocation.files.invocation, (json.dumps(data, indent=2) + "\n").encode())


def open_invocation(reference: str, ledger: Ledger) -> Invocation:
    """Read an invocation and add it to the ledger.

    Args:
        reference: the beginning of its ID, or the path of its run directory.
        ledger: the ledger of this machine.

    Raises:
        NotFoundError: there is no such invocation, or its run directory has been deleted.
        ResultsError: its run directory is incomplete.
    """
    path = Path(reference)
    if not RunFiles(path).invocation.is_file():
        path = ledger.invocation(reference).run_dir
    if not path.is_dir():
        msg = f"the run directory {path} does not exist any more"
        raise NotFoundError(msg, hint="it contained the plan, so nothing can be continued; run the spec again")
    invocation, attempts = load(path.absolute())
    ledger.add(invocation.row(), attempts)
    return invocation


def load(run_dir: Path) -> tuple[Invocation, list[AttemptRow]]:
    """Read the invocation and its attempts from a run directory.

    Raises:
        ResultsError: a file is missing or malformed.
    """
    files = RunFiles(run_dir)
    try:
        record = json.loads(files.invocation.read_bytes())
        invocation = Invocation(
            id=record["invocation"],
            created=record["created"],
            run_dir=run_dir,
            source=record["spec"],
            base_dir=Path(record["base_dir"]),
            spec_digest=record["spec_digest"],
            plan=_read_plan(files.plan.read_bytes()),
        )
        return invocation, [AttemptRow.parse(row) for row in record["attempts"]]
    except (OSError, ValueError, KeyError, TypeError, ValidationError) as error:
        msg = f"{run_dir} is not a complete run directory: {error}"
        raise ResultsError(msg) from error


def _plan_json(plan: Plan) -> bytes:
    data = {
        "schema_version": _SCHEMA_VERSION,
        "spec": plan.spec.model_dump(mode="json"),
        "context": TypeAdapter(Context).dump_python(plan.context, mode="json"),
        "jobs": TypeAdapter(tuple[Job, ...]).dump_python(plan.jobs, mode="json"),
        "baselines": None if plan.baselines is None else [asdict(pin) for pin in plan.baselines],
    }
    return (json.dumps(data, indent=2) + "\n").encode()


def _read_plan(data: bytes) -> Plan:
    parts = json.loads(data)
    return Plan(
        spec=Spec.model_validate_json(json.dumps(parts["spec"])),
        context=TypeAdapter(Context).validate_json(json.dumps(parts["context"])),
        jobs=TypeAdapter(tuple[Job, ...]).validate_json(json.dumps(parts["jobs"])),
        baselines=TypeAdapter(tuple[PinnedBaseline, ...] | None).validate_json(json.dumps(parts.get("baselines"))),
    )
