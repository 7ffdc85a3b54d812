"""From a checked plan to jobs that run: the invocation is on disk before anything is submitted."""

from __future__ import annotations

from collections.abc import Callable

from nel_action.ledger import Ledger
from nel_action.lifecycle.invocation import create
from nel_action.lifecycle.prepare import Prepared
from nel_action.lifecycle.scripts import write_scripts
from nel_action.lifecycle.session import Session
from nel_action.lifecycle.submit import submit

__all__ = ["start"]


def start(prepared: Prepared, ledger: Ledger, *, on_created: Callable[[Session], None] | None = None) -> Session:
    """Create an invocation and submit its jobs.

    Args:
        prepared: what to run; checked.
        ledger: where it is entered.
        on_created: called when the invocation has an id and is on disk, before anything is submitted.

    Raises:
        UnreachableError: the backend did not answer; the invocation can be resumed.
    """
    loaded = prepared.loaded
    invocation = create(
        prepared.plan, source=loaded.source, base_dir=loaded.base_dir, resolved=loaded.resolved, digest=loaded.digest
    )
    ledger.add(invocation.row())
    session = Session(invocation, prepared.executor, ledger)
    if on_created is not None:
        on_created(session)
    write_scripts(session)
    submit(session)
    return session
