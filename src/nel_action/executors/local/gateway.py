"""The gateway of an attempt on this machine: as the parent of the harness's process."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from nel_action.executors.gateway import (
    COUNTERS_FILE,
    behind_gateway,
    config_text,
    gateway_config,
    gateway_url,
    harness_key,
)
from nel_action.executors.local.attempt import AttemptDir, JobRecord
from nel_action.executors.local.interface import Launch
from nel_action.executors.records import open_record
from nel_action.files import write_atomically
from nel_action.gateway.runner import PLACEHOLDER
from nel_action.harnesses.interface import Command

__all__ = ["RECORD_ROOT", "behind_gateway", "counters_file", "gateway_url", "run_behind_gateway", "write_config"]

RECORD_ROOT: Final = "record"
"""Directory of all records below `$NEL_ACTION_HOME`."""
_PROGRAM: Final = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); "
    "from nel_action.gateway.__main__ import main; sys.exit(main(sys.argv[1:]))"
)


def program() -> list[str]:
    """Return the command line of the gateway from this installation, without its subcommand."""
    # NOTE: isolated and without packages, because it starts before every harness.
    return [sys.executable, "-I", "-S", "-c", _PROGRAM, str(Path(__file__).parents[3])]


def counters_file(attempt: AttemptDir) -> Path:
    """Return the path of the counters of an attempt's gateway."""
    return attempt.logs / COUNTERS_FILE


def write_config(attempt: AttemptDir, record: JobRecord, url: str, home: Path) -> Path:
    """Open the record and write the configuration of an attempt's gateway; return its path.

    Args:
        attempt: the attempt.
        record: what was submitted.
        url: of the model's route, as this machine reaches it.
        home: `$NEL_ACTION_HOME`.
    """
    job = record.job
    assert job.gateway is not None  # noqa: S101 the caller's condition
    config = gateway_config(
        job,
        url=url,
        record=str(open_record(home / RECORD_ROOT, job.key, job.gateway.keep_days)),
        counters=str(counters_file(attempt)),
        attempt=record.number,
        invocation=record.invocation,
    )
    path = attempt.path / "gateway.json"
    write_atomically(path, config_text(config).encode())
    return path


def run_behind_gateway(
    attempt: AttemptDir, record: JobRecord, command: Command, launch: Launch, *, config: Path
) -> Launch:
    """Return the command line and environment of the gateway that runs a harness.

    Args:
        attempt: the attempt.
        record: what was submitted.
        command: the harness's command, with the placeholder as the model's address.
        launch: the same with all values of variables.
        config: file with the gateway's configuration.
    """
    key = harness_key(record.job, command, launch.env)
    options = ["--config", str(config)]
    for name in key.tokens:
        options += ["--token-env", name]
    for name, text in command.files.items():
        if PLACEHOLDER in text:
            options += ["--file", str(attempt.work / name)]
    if cleared := _cleared(attempt, record):
        options += [*cleared, "--earlier", str(attempt.path / "earlier")]
    argv = (*program(), "run", *options, "--", *launch.argv)
    return Launch(argv=argv, env={**key.env, **key.upstream})


def _cleared(attempt: AttemptDir, record: JobRecord) -> Sequence[str]:
    """Return options for the directories that a harness that begins again must find empty."""
    from nel_action.harnesses.registry import harness

    return ["--clear", str(attempt.artifacts)] if harness(record.job.harness).starts_over else []
