"""Where a task's samples lie: beside its results, never anywhere else."""

from __future__ import annotations

from pathlib import Path

from nel_action.errors import ResultsError
from nel_action.model.results import TaskResult

__all__ = ["samples_path"]


def samples_path(root: Path, task: TaskResult) -> Path | None:
    """Return the path of a task's samples; None where it kept none.

    Args:
        root: folder of `results.json`.
        task: its result.

    Raises:
        ResultsError: the results name a file outside their folder; they may come from somebody else.
    """
    if not task.samples:
        return None
    path = (root / task.samples).resolve()
    if not path.is_relative_to(root.resolve()):
        msg = f"{task.task}: samples lie outside the results' folder: {task.samples}"
        raise ResultsError(msg)
    return path
