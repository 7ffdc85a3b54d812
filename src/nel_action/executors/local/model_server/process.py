"""A server as a process of this machine."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from nel_action.executors import virtualenvs
from nel_action.executors.local.attempt import read_started
from nel_action.executors.local.docker.run import Engine
from nel_action.executors.local.interface import Step
from nel_action.executors.local.model_server.serving import (
    HOST_NAME,
    LOOPBACK,
    ServerSite,
    Serving,
    bridge_gateway,
    free_port,
    with_pre_cmd,
)
from nel_action.executors.local.process import RunningChild, base_environ
from nel_action.executors.local.secrets import Values
from nel_action.executors.local.subprocesses import Child, sweep
from nel_action.model.job import Reason

__all__ = ["ProcessServer"]


@dataclass(slots=True)
class ProcessServer:
    """One server as a process; it dies with its agent."""

    site: ServerSite
    home: Path
    engine: Engine

    def _requirements(self) -> Sequence[str]:
        return self.site.kind.requirements(self.site.deployment)

    async def setup(self) -> Sequence[Step]:
        """Return the making of its environment, where it needs one that is not there."""
        words = self._requirements()
        if not words or virtualenvs.find_virtualenv(self.home, words):
            return []
        argv = (sys.executable, "-P", "-m", virtualenvs.__name__, str(self.home), *words)
        return [Step(phase=f"installing {self.site.kind.type}", argv=argv, reason=Reason.INFRASTRUCTURE)]

    async def recover(self) -> None:
        """End what a server of an earlier agent left, as nothing can be said of it."""
        sweep(str(self.site.folder), read_started(self.site.folder / "started"))
        shutil.rmtree(self.site.folder, ignore_errors=True)

    async def start(self, values: Values) -> Serving:
        """Start it on a free port of the address that its harnesses reach."""
        host = await self.engine.call(bridge_gateway) if self.site.for_containers else LOOPBACK
        port = free_port(host, self.site.deployment.port)
        words = self._requirements()
        programs = virtualenvs.find_virtualenv(self.home, words) if words else None
        where = PurePosixPath(self.site.work)
        checkpoint = PurePosixPath(self.site.checkpoint) if self.site.checkpoint else None
        command = self.site.command(host=host, port=port, work=where, checkpoint=checkpoint)
        env = {**base_environ(self.site.environ, programs), **command.env, **self.site.resolve_variables(values)}
        (self.site.folder / "started").unlink(missing_ok=True)
        child = await Child.start(
            with_pre_cmd(command.argv, self.site.deployment, self.site.work),
            env=env,
            cwd=self.site.work,
            log=self.site.log,
            mark=self.site.folder,
            started=self.site.folder / "started",
        )
        seen_by_harness = HOST_NAME if self.site.for_containers else host
        return Serving(
            running=RunningChild(child, None), base=f"http://{seen_by_harness}:{port}", health=f"http://{host}:{port}"
        )

    async def discard(self) -> None:
        """Remove what it left behind."""
        sweep(str(self.site.folder), read_started(self.site.folder / "started"))
