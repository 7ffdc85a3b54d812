"""Shell hooks around a task's harness, identical for all executors."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from nel_action.harnesses.interface import Command
from nel_action.planning.jobs import Job

__all__ = ["with_hooks"]

HOOK_SCRIPT: Final = """\
set -e
[ ! -e pre_cmd.sh ] || . ./pre_cmd.sh
status=0
"$@" || status=$?
[ ! -e post_cmd.sh ] || . ./post_cmd.sh
exit "$status"
"""


def with_hooks(command: Command, job: Job) -> Command:
    """Run the job's `pre_cmd` before and `post_cmd` after the command, in one shell; the exit status is preserved."""
    hooks = {"pre_cmd.sh": job.pre_cmd, "post_cmd.sh": job.post_cmd}
    files = {name: f"{text}\n" for name, text in hooks.items() if text}
    if not files:
        return command
    argv = ("bash", "-c", HOOK_SCRIPT, "hooks", *command.argv)
    return replace(command, argv=argv, files={**command.files, **files})
