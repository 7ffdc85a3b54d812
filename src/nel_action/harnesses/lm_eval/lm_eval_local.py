"""Run lm-eval with a folder of tasks: `python lm_eval_local.py FOLDER run …`.

Relative `data_files` are resolved against that folder. Reading lm-eval's own 26,000 task files takes about ten seconds;
this script skips them unless a task of the folder refers to one.
"""

# ruff: noqa: T201 a script, not part of the package

from __future__ import annotations

import os
import sys
from typing import Any

import lm_eval.tasks  # type: ignore[import-not-found,unused-ignore]
from lm_eval.__main__ import cli_evaluate  # type: ignore[import-not-found,unused-ignore]


class FolderFirst(lm_eval.tasks.TaskManager):  # type: ignore[misc]
    """Indexes the folder's tasks, and lm-eval's own only if a task refers to one."""

    def __init__(self, *args: Any, **options: Any) -> None:  # noqa: ANN401 the arguments of the base class
        super().__init__(*args, **options | {"include_defaults": False})
        required = {sys.argv[sys.argv.index("--tasks") + 1]}
        required |= {name for entry in self.task_index.values() for name in children((entry.cfg or {}).get("task"))}
        if missing := required - set(self.all_tasks):
            print(f"lm-eval's own tasks are needed for {', '.join(sorted(missing))}", file=sys.stderr)
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
