"""Settings of the executor for a test's own SSH server or cluster."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.support.slurm.sshd import Sshd

from nel_action.executors.slurm.remote import RemoteShell, open_transport
from nel_action.spec.slurm import SlurmExecution

__all__ = ["open_remote", "slurm_settings"]


def slurm_settings(sshd: Sshd | None, **fields: Any) -> SlurmExecution:  # noqa: ANN401 whatever the class takes
    """Return settings that reach the server with its own key; without a server, this machine without SSH."""
    reach: dict[str, Any] = {"hostname": "localhost"}
    if sshd is not None:
        reach = {"hostname": "127.0.0.1", "port": sshd.port, "username": sshd.user}
        reach |= {"known_hosts": sshd.known_hosts, "key_file": str(sshd.key)}
    plain = {"output_dir": "/nowhere", "partition": "main", "runtime": "none", "sbatch_extra_flags": {}}
    return SlurmExecution(**(plain | reach | fields))


def open_remote(settings: SlurmExecution, environ: dict[str, str] | None = None, **options: Any) -> RemoteShell:  # noqa: ANN401
    """Return the login node that the settings lead to."""
    return RemoteShell(open_transport(settings, environ or {"HOME": "/nonexistent"}, Path()), **options)
