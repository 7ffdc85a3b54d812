"""A task's own commands around its harness; the same wherever a job runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from nel_action.harnesses.interface import Command
from nel_action.planning.jobs import Job

__all__ = ["with_hooks"]

HOOKED: Final = """\
set -e
[ ! -e pre_cmd.sh ] || . ./pre_cmd.sh
status=0
"$@" || status=$?
[ ! -e post_cmd.sh ] || . ./post_cmd.sh
exit "$status"
"""


def with_hooks(command: Command, job: Job) -> Command:
    """Run the task's `pre_cmd` before and its `post_cmd` after the harness, in one shell; it keeps the exit status."""
    hooks = {"pre_cmd.sh": job.pre_cmd, "post_cmd.sh": job.post_cmd}
    texts = {name: f"{text}\n" for name, text in hooks.items() if text}
    if not texts:
        return command
    argv = ("bash", "-c", HOOKED, "hooks", *command.argv)
    return replace(command, argv=argv, files={**command.files, **texts})
