"""The durable record of invocations, attempts and states: a cache of what the backends know.

SQLite in WAL mode, so that several processes can work at once. Writing an attempt has two steps: `intend`
before the backend is asked, `record` after it has answered; whatever dies between them leaves an intent,
which the next process settles by looking the key up on the backend.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from nel_action.errors import AmbiguousError, NotFoundError, UsageError

__all__ = ["AttemptRow", "InvocationRow", "Ledger", "now", "run_dir_of"]

SCHEMA = """
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
PRAGMA user_version = 1;
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
    """Path of the spec as it was given."""
    executor: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptRow:
    """One try of one job, as it was last seen."""

    invocation: str
    job: int
    number: int
    name: str
    key: str
    intended: str
    """When it was about to be submitted; RFC 3339, UTC."""
    backend_id: str | None = None
    """None while only the intent is known."""
    recorded: str | None = None
    reused: bool = False
    """Whether another invocation had submitted it."""
    state: str = "pending"
    reason: str | None = None
    detail: str | None = None
    exit_code: int | None = None
    started: str | None = None
    ended: str | None = None


ATTEMPT_COLUMNS = tuple(AttemptRow.__dataclass_fields__)


class Ledger:
    """One ledger file; every method is one transaction."""

    def __init__(self, home: Path) -> None:
        home.mkdir(parents=True, exist_ok=True)
        self.path = home / "ledger.db"
        self._db = sqlite3.connect(self.path, timeout=30, isolation_level=None)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode = WAL")
        self._db.execute("PRAGMA synchronous = FULL")
        with self._writing():
            self._check_version()
            for statement in SCHEMA.split(";"):
                self._db.execute(statement)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _check_version(self) -> None:
        version = self._db.execute("PRAGMA user_version").fetchone()[0]
        if version > 1:
            msg = f"{self.path} was written by a newer nel-action (ledger version {version})"
            raise UsageError(msg, hint="update nel-action, or point NEL_ACTION_HOME elsewhere")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        # NOTE: IMMEDIATE takes the write lock at once, so two writers queue instead of one failing half-way.
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def add(self, invocation: InvocationRow, attempts: Sequence[AttemptRow] = ()) -> None:
        """Enter an invocation; entering it again changes nothing."""
        with self._writing():
            self._db.execute(
                "INSERT OR IGNORE INTO invocations VALUES (?, ?, ?, ?, ?)",
                (invocation.id, invocation.created, str(invocation.run_dir), invocation.spec, invocation.executor),
            )
            self._insert(attempts)

    def _insert(self, attempts: Sequence[AttemptRow]) -> None:
        marks = ", ".join("?" * len(ATTEMPT_COLUMNS))
        self._db.executemany(
            f"INSERT OR IGNORE INTO attempts ({', '.join(ATTEMPT_COLUMNS)}) VALUES ({marks})",  # noqa: S608 - constants
            [tuple(getattr(row, column) for column in ATTEMPT_COLUMNS) for row in attempts],
        )

    def intend(self, attempts: Sequence[AttemptRow]) -> None:
        """Write down what is about to be submitted, before it is."""
        with self._writing():
            self._insert(attempts)

    def record(self, row: AttemptRow) -> None:
        """Write down what the backend answered, and what was last seen."""
        columns = [column for column in ATTEMPT_COLUMNS if column not in {"invocation", "job", "number"}]
        sets = ", ".join(f"{column} = ?" for column in columns)
        values = [getattr(row, column) for column in columns]
        with self._writing():
            self._db.execute(
                f"UPDATE attempts SET {sets} WHERE invocation = ? AND job = ? AND number = ?",  # noqa: S608 - constants
                (*values, row.invocation, row.job, row.number),
            )

    def attempts(self, invocation: str) -> list[AttemptRow]:
        """Return every attempt of an invocation, oldest first."""
        rows = self._db.execute(
            "SELECT * FROM attempts WHERE invocation = ? ORDER BY job, number", (invocation,)
        ).fetchall()
        return [AttemptRow(**{**dict(row), "reused": bool(row["reused"])}) for row in rows]

    def invocations(self) -> list[InvocationRow]:
        """Return every invocation, newest first."""
        rows = self._db.execute("SELECT * FROM invocations ORDER BY created DESC, id").fetchall()
        return [_invocation(row) for row in rows]

    def invocation(self, prefix: str) -> InvocationRow:
        """Return the one invocation whose id starts so.

        Raises:
            NotFoundError: none does, or several do.
        """
        wanted = prefix.partition(".")[0]
        pattern = wanted.replace("%", "").replace("_", "") + "%"
        rows = self._db.execute("SELECT * FROM invocations WHERE id LIKE ? LIMIT 3", (pattern,)).fetchall()
        if len(rows) == 1 and wanted:
            return _invocation(rows[0])
        if rows and wanted:
            ids = ", ".join(row["id"] for row in rows[:2])
            msg = f"'{prefix}' is the beginning of several invocations: {ids}{', …' if len(rows) > 2 else ''}"  # noqa: PLR2004
            raise AmbiguousError(msg, hint="give more of its digits")
        msg = f"no invocation '{prefix}' in {self.path}"
        raise NotFoundError(msg, hint="nel-action ls runs shows them; a run directory's path works too")


def _invocation(row: sqlite3.Row) -> InvocationRow:
    return InvocationRow(**{**dict(row), "run_dir": Path(row["run_dir"])})


def run_dir_of(prefix: str, home: Path) -> Path:
    """Return the run directory of the invocation whose id starts so, or of the directory that is named.

    Raises:
        NotFoundError: there is none.
    """
    path = Path(prefix)
    if (path / "invocation.json").is_file():
        return path.resolve()
    ledger = Ledger(home)
    try:
        return ledger.invocation(prefix).run_dir
    finally:
        ledger.close()


def now() -> str:
    """Return the time, RFC 3339 in UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
