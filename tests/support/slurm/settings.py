"""Executor settings for the SSH server or cluster of a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.slurm.sshd import Sshd

from nel_action.executors.slurm.remote import RemoteShell, open_transport
from nel_action.spec.slurm import SlurmExecution

__all__ = ["open_remote", "slurm_settings"]


def slurm_settings(sshd: Sshd | None, **fields: Any) -> SlurmExecution:  # noqa: ANN401 fields of the class
    """Return settings for an SSH server and its key; without a server, for this machine without SSH."""
    access: dict[str, Any] = {"hostname": "localhost"}
    if sshd is not None:
        access = {"hostname": "127.0.0.1", "port": sshd.port, "username": sshd.user}
        access |= {"known_hosts": sshd.known_hosts, "key_file": str(sshd.key)}
    defaults = {"output_dir": "/nowhere", "partition": "main", "runtime": "none", "sbatch_extra_flags": {}}
    return SlurmExecution(**(defaults | access | fields))


def open_remote(settings: SlurmExecution, environ: dict[str, str] | None = None, **options: Any) -> RemoteShell:  # noqa: ANN401
    """Return a remote shell on the login node of the settings."""
    return RemoteShell(open_transport(settings, environ or {"HOME": "/nonexistent"}, Path()), **options)
