"""Which jobs of an invocation a command means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nel_action.errors import NotFoundError

if TYPE_CHECKING:
    from nel_action.lifecycle.session import JobView, Session

__all__ = ["select_jobs"]


def select_jobs(session: Session, name: str, tasks: Sequence[str] = ()) -> list[JobView]:
    """Return the jobs that `<invocation>` or `<invocation>.<n>` and the task names mean.

    Raises:
        NotFoundError: none.
    """
    _, dot, index = name.rpartition(".")
    one = int(index) if dot and index.isdigit() else None
    views = [
        view
        for view in session.views()
        if (one is None or view.job.index == one) and (not tasks or {view.job.name, view.job.task.display} & set(tasks))
    ]
    if not views:
        known = ", ".join(view.job.name for view in session.views())
        msg = f"invocation {session.invocation.id} has no such job"
        raise NotFoundError(msg, hint=f"its tasks: {known}")
    return views
