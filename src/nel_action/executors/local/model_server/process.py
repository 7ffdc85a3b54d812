"""A model server as a process of this machine."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from nel_action.executors import virtualenvs
from nel_action.executors.local.attempt import read_start_record
from nel_action.executors.local.docker.engine import AsyncEngine
from nel_action.executors.local.interface import SetupStep
from nel_action.executors.local.model_server.interface import (
    HOST_NAME,
    LOOPBACK,
    ServerContext,
    Serving,
    bridge_gateway,
    with_pre_cmd,
)
from nel_action.executors.local.model_server.ports import ReservedPort, port_owner, reserve_port
from nel_action.executors.local.process import RunningProcess, base_environ
from nel_action.executors.local.secrets import Values
from nel_action.executors.local.subprocesses import Subprocess, kill_leftovers
from nel_action.model.job import Reason

__all__ = ["ProcessServer"]


@dataclass(slots=True)
class ProcessServer:
    """Runs one model server as a process, which dies with its supervisor."""

    context: ServerContext
    home: Path
    engine: AsyncEngine
    port: ReservedPort | None = None
    """Reserved until the next start or the end."""

    def _requirements(self) -> Sequence[str]:
        return self.context.kind.requirements(self.context.deployment)

    async def setup(self) -> Sequence[SetupStep]:
        """Return the creation of the virtual environment if it is needed and does not exist."""
        requirements = self._requirements()
        if not requirements or virtualenvs.find_virtualenv(self.home, requirements):
            return []
        argv = (sys.executable, "-P", "-m", virtualenvs.__name__, str(self.home), *requirements)
        return [SetupStep(phase=f"installing {self.context.kind.type}", argv=argv, reason=Reason.INFRASTRUCTURE)]

    async def recover(self) -> None:
        """Kill what remains of an earlier supervisor's server; its state cannot be known."""
        await self.discard()
        shutil.rmtree(self.context.directory, ignore_errors=True)

    async def start(self, values: Values) -> Serving:
        """Start it on a free port of the address that its harnesses reach."""
        context = self.context
        host = await self.engine.call(bridge_gateway) if context.for_containers else LOOPBACK
        if self.port is not None:
            self.port.release()
        self.port = reserve_port(host, context.deployment.port)
        port = self.port.number
        requirements = self._requirements()
        bin_dir = virtualenvs.find_virtualenv(self.home, requirements) if requirements else None
        work = PurePosixPath(context.work)
        checkpoint = PurePosixPath(context.checkpoint) if context.checkpoint else None
        command = context.command(host=host, port=port, work=work, checkpoint=checkpoint)
        env = {**base_environ(context.environ, bin_dir), **command.env, **context.resolve_variables(values)}
        context.started_file.unlink(missing_ok=True)
        process = await Subprocess.start(
            with_pre_cmd(command.argv, context.deployment, context.work),
            env=env,
            cwd=context.work,
            log=context.log,
            mark=context.directory,
            started=context.started_file,
        )
        harness_host = HOST_NAME if context.for_containers else host
        return Serving(
            program=RunningProcess(process, None),
            base_url=f"http://{harness_host}:{port}",
            local_url=f"http://{host}:{port}",
            port_owner=lambda: port_owner(host, port, str(context.directory), process.pid),
        )

    async def discard(self) -> None:
        """Kill the processes that it left behind, and release its port."""
        kill_leftovers(str(self.context.directory), read_start_record(self.context.started_file))
        if self.port is not None:
            self.port.release()
