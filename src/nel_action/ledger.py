"""The durable record of invocations, attempts and job states: a cache of what the backends report.

SQLite in WAL mode, so that several processes can use it at once. Submitting takes two transactions: `intend` before
the backend is called, `record` after it has answered. A process that dies between them leaves an intent, which the
next process resolves by looking the job's key up on the backend.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from nel_action.errors import AmbiguousError, NotFoundError, UsageError
from nel_action.model.job import Attempt, JobState, JobStatus, Key, Reason
from nel_action.model.run_files import RunFiles

__all__ = ["AttemptRow", "InvocationRow", "Ledger", "now", "run_dir_of"]

_VERSION = 1
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS invocations (
    id TEXT PRIMARY KEY,
    created TEXT NOT NULL,
    run_dir TEXT NOT NULL,
    spec TEXT NOT NULL,
    executor TEXT NOT NULL
);
CREATE TABLE IF NOT EXISTS attempts (
    invocation TEXT NOT NULL REFERENCES invocations (id) ON DELETE CASCADE,
    job INTEGER NOT NULL,
    number INTEGER NOT NULL,
    name TEXT NOT NULL,
    key TEXT NOT NULL,
    intended TEXT NOT NULL,
    backend_id TEXT,
    recorded TEXT,
    reused INTEGER NOT NULL DEFAULT 0,
    state TEXT NOT NULL DEFAULT 'pending',
    reason TEXT,
    detail TEXT,
    exit_code INTEGER,
    started TEXT,
    ended TEXT,
    PRIMARY KEY (invocation, job, number)
);
CREATE INDEX IF NOT EXISTS attempts_by_key ON attempts (key, number);
PRAGMA user_version = {_VERSION};
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class InvocationRow:
    """One run of a plan."""

    id: str
    """16 hex digits."""
    created: str
    """RFC 3339, UTC."""
    run_dir: Path
    spec: str
    """Path of the spec, as the user gave it."""
    executor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRow:
    """One attempt of a job of an invocation, with its last observed status."""

    invocation: str
    job: int
    """Index of the job in the plan."""
    number: int
    name: str
    key: Key
    intended: str
    """Time at which its submission began; RFC 3339, UTC."""
    backend_id: str | None = None
    """None until the backend's answer has been recorded."""
    recorded: str | None = None
    reused: bool = False
    """Whether another invocation submitted it."""
    state: JobState = JobState.PENDING
    reason: Reason | None = None
    detail: str | None = None
    exit_code: int | None = None
    started: str | None = None
    ended: str | None = None

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Self:
        """Parse a database row, or an attempt of `invocation.json`.

        Raises:
            ValueError: the state is unknown.
            TypeError: a column is missing or unknown.
        """
        reason = data["reason"]
        fields = {
            "key": Key(data["key"]),
            "reused": bool(data["reused"]),
            "state": JobState(data["state"]),
            # NOTE: a later version may add reasons; they explain a state and decide nothing.
            "reason": Reason(reason) if reason in _REASONS else None,
        }
        return cls(**{**data, **fields})

    @property
    def submitted(self) -> bool:
        """Whether the backend's answer has been recorded; otherwise only the intent has."""
        return self.backend_id is not None

    @property
    def backend_attempt(self) -> Attempt:
        """The same attempt as executors identify it."""
        return Attempt(key=self.key, number=self.number, backend_id=self.backend_id or "", submitted=self.recorded)

    def updated(self, status: JobStatus) -> AttemptRow:
        """Return the row with a newly observed status."""
        return replace(
            self,
            state=status.state,
            reason=status.reason,
            detail=status.detail,
            exit_code=status.exit_code,
            started=status.started or self.started,
            ended=status.ended,
        )


_COLUMNS = tuple(AttemptRow.__dataclass_fields__)
_IDENTITY = ("invocation", "job", "number")
_FINAL_STATES = ", ".join(f"'{state}'" for state in JobState if state.final)
_REASONS = frozenset(Reason)


class Ledger:
    """A ledger file; every method is one transaction."""

    def __init__(self, home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.path = home / "ledger.db"
        self._db = sqlite3.connect(self.path, timeout=30, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        with self._transaction():
            self._check_version()
            for statement in _SCHEMA.split(";"):
                self._db.execute(statement)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.close()

    @property
    def home(self) -> Path:
        """`$NEL_ACTION_HOME`."""
        return self.path.parent

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _check_version(self) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > _VERSION:
            msg = f"{self.path} was written by a newer nel-action (ledger version {version})"
            raise UsageError(msg, hint="update nel-action, or point NEL_ACTION_HOME elsewhere")

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        # NOTE: IMMEDIATE takes the write lock first, so that two writers queue and neither fails half-way.
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def add(self, invocation: InvocationRow, attempts: Sequence[AttemptRow] = ()) -> None:
        """Insert an invocation with its attempts; rows that exist stay as they are."""
        with self._transaction():
            self._db.execute(
                "INSERT OR IGNORE INTO invocations VALUES (?, ?, ?, ?, ?)",
                (invocation.id, invocation.created, str(invocation.run_dir), invocation.spec, invocation.executor),
            )
            self._insert(attempts)

    def intend(self, attempts: Sequence[AttemptRow]) -> None:
        """Insert attempts that are about to be submitted; rows that exist stay as they are."""
        with self._transaction():
            self._insert(attempts)

    def _insert(self, attempts: Sequence[AttemptRow]) -> None:
        marks = ", ".join("?" * len(_COLUMNS))
        self._db.executemany(
            f"INSERT OR IGNORE INTO attempts ({', '.join(_COLUMNS)}) VALUES ({marks})",  # noqa: S608 - constants
            [tuple(getattr(row, column) for column in _COLUMNS) for row in attempts],
        )

    def record(self, row: AttemptRow) -> None:
        """Update an attempt with the backend's answer or a newly observed status.

        A final state is never replaced by one that is not final: another process may have observed the end of a job
        while this one was still waiting for an earlier observation.
        """
        columns = [column for column in _COLUMNS if column not in _IDENTITY]
        assignments = ", ".join(f"{column} = ?" for column in columns)
        condition = "invocation = ? AND job = ? AND number = ?"
        if not row.state.final:
            condition += f" AND state NOT IN ({_FINAL_STATES})"
        with self._transaction():
            self._db.execute(
                f"UPDATE attempts SET {assignments} WHERE {condition}",  # noqa: S608 - constants
                [getattr(row, column) for column in (*columns, *_IDENTITY)],
            )

    def forget(self, row: AttemptRow) -> None:
        """Delete an attempt of another invocation that this one had joined and then left, so that it can join again."""
        with self._transaction():
            self._db.execute(
                "DELETE FROM attempts WHERE invocation = ? AND job = ? AND number = ? AND reused",
                (row.invocation, row.job, row.number),
            )

    def attempts(self, invocation: str) -> list[AttemptRow]:
        """Return all attempts of an invocation, ordered by job and number."""
        rows = self._db.execute(
            "SELECT * FROM attempts WHERE invocation = ? ORDER BY job, number", (invocation,)
        ).fetchall()
        return [AttemptRow.parse(dict(row)) for row in rows]

    def invocations(self) -> list[InvocationRow]:
        """Return all invocations, newest first."""
        rows = self._db.execute("SELECT * FROM invocations ORDER BY created DESC, id").fetchall()
        return [_invocation(row) for row in rows]

    def invocation(self, prefix: str) -> InvocationRow:
        """Return the invocation whose ID begins with `prefix`; a job ID (`<invocation>.<n>`) is accepted.

        Raises:
            NotFoundError: no invocation matches.
            AmbiguousError: several match.
        """
        identity = prefix.partition(".")[0]
        pattern = identity.replace("%", "").replace("_", "") + "%"
        rows = self._db.execute("SELECT * FROM invocations WHERE id LIKE ? LIMIT 3", (pattern,)).fetchall()
        if len(rows) == 1 and identity:
            return _invocation(rows[0])
        if rows and identity:
            ids = ", ".join(row["id"] for row in rows[:2])
            msg = f"'{prefix}' matches several invocations: {ids}{', …' if len(rows) > 2 else ''}"  # noqa: PLR2004
            raise AmbiguousError(msg, hint="give more digits of the ID")
        msg = f"no invocation '{prefix}' in {self.path}"
        raise NotFoundError(msg, hint="`nel-action ls runs` lists them; the path of a run directory works too")


def _invocation(row: sqlite3.Row) -> InvocationRow:
    return InvocationRow(**{**dict(row), "run_dir": Path(row["run_dir"])})


def run_dir_of(reference: str, home: Path) -> Path:
    """Return the run directory of an invocation.

    Args:
        reference: the path of a run directory, or the beginning of an invocation's ID.
        home: `$NEL_ACTION_HOME`.

    Raises:
        NotFoundError: no invocation matches.
        AmbiguousError: several match.
    """
    path = Path(reference)
    if RunFiles(path).invocation.is_file():
        return path.resolve()
    with Ledger(home) as ledger:
        return ledger.invocation(reference).run_dir


def now() -> str:
    """Return the current time as RFC 3339 in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
