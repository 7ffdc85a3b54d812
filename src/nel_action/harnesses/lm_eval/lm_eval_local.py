"""Run lm-eval in a folder of tasks: `python lm_eval_local.py FOLDER run …`.

Relative `data_files` then start at that folder. lm-eval reads all of its own 26,000 task files before it looks at
yours, which takes about ten seconds; this launcher leaves them out where the folder's tasks need none of them.
"""

# ruff: noqa: T201 a script, not part of the package

from __future__ import annotations

import os
import sys
from typing import Any

import lm_eval.tasks  # type: ignore[import-not-found,unused-ignore]
from lm_eval.__main__ import cli_evaluate  # type: ignore[import-not-found,unused-ignore]


class FolderFirst(lm_eval.tasks.TaskManager):  # type: ignore[misc]
    """Knows the folder's tasks, and lm-eval's own only where something refers to them."""

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 whatever the base class takes
        super().__init__(*args, **options | {"include_defaults": False})
        known = set(self.all_tasks)
        wanted = {sys.argv[sys.argv.index("--tasks") + 1]}
        wanted |= {name for entry in self.task_index.values() for name in children((entry.cfg or {}).get("task"))}
        if not wanted <= known:
            print(f"lm-eval's own tasks are needed for {', '.join(sorted(wanted - known))}", file=sys.stderr)
            super().__init__(*args, **options)


def children(tasks: object) -> set[str]:
    """Return the names that a group's `task:` refers to."""
    if isinstance(tasks, str):
        return {tasks}
    if isinstance(tasks, dict):
        return children(tasks.get("task")) if "task" in tasks else set()
    return set().union(*(children(task) for task in tasks)) if isinstance(tasks, list) else set()


if __name__ == "__main__":
    os.chdir(sys.argv.pop(1))
    lm_eval.tasks.TaskManager = FolderFirst
    cli_evaluate()
