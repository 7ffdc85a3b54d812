"""A login node's own processes, where nel-action runs on one."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Final

from nel_action.executors.slurm.transport import Finished, LostError

__all__ = ["LocalTransport"]

# NOTE: sbatch keeps the environment that it finds, in the controller and perhaps in a database. What a login
# session has may go there; what the caller has besides, such as keys, may not.
KEPT: Final = (
    "HOME",
    "KRB5CCNAME",
    "LANG",
    "LOGNAME",
    "MANPATH",
    "MODULEPATH",
    "MODULESHOME",
    "PATH",
    "SHELL",
    "SLURM_CONF",
    "TMPDIR",
    "USER",
)


class LocalTransport:
    """Runs commands as children of this process."""

    place = "this login node"

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._env = {name: environ[name] for name in KEPT if name in environ}

    def run(self, argv: Sequence[str], *, stdin: bytes, seconds: float) -> Finished:
        """Run one command to its end.

        Raises:
            LostError: it did not end in time, or was killed.
        """
        with subprocess.Popen(
            list(argv),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._env,
            start_new_session=True,
        ) as child:
            try:
                out, err = child.communicate(stdin, timeout=seconds)
            except subprocess.TimeoutExpired:
                with suppress(ProcessLookupError):
                    os.killpg(child.pid, signal.SIGKILL)
                msg = f"{argv[0]} did not answer within {seconds:g} s on {self.place}"
                raise LostError(msg) from None
        if child.returncode < 0:
            msg = f"{argv[0]} was killed by signal {-child.returncode} on {self.place}"
            raise LostError(msg)
        return Finished(child.returncode, out, err)

    def fetch(self, files: Sequence[tuple[PurePosixPath, Path]], *, seconds: float) -> None:  # noqa: ARG002
        """Copy files.

        Raises:
            OSError: a file cannot be read or written.
        """
        for source, target in files:
            shutil.copyfile(source, target)

    def close(self) -> None:
        """There is nothing to let go of."""
