"""The model server that a Lepton endpoint runs: its command, port, routes and identity."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import Final

from nel_action.model.task import EndpointType
from nel_action.model_servers.interface import ServeBinding, ServeCommand, ServerType
from nel_action.model_servers.registry import server_type
from nel_action.planning.jobs import Job
from nel_action.spec.deployment import NoDeployment, ServedDeployment
from nel_action.spec.lepton import LeptonConfig, LeptonExecution
from nel_action.spec.target import Target

__all__ = ["ADDRESS_PLACEHOLDER", "ModelServer"]

DEFAULT_PORT: Final = 8000
WORK_DIR: Final = PurePosixPath("/tmp/nel-server")  # noqa: S108 - inside a container

ADDRESS_PLACEHOLDER: Final = "https://ADDRESS-OF-THE-ENDPOINT"
"""Shown by dry runs: the platform assigns the address when it creates the endpoint."""

WRITE_FILES_SCRIPT: Final = """\
import json, os, sys
for name, text in json.loads(sys.argv[2]).items():
    path = os.path.join(sys.argv[1], name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
os.execvp(sys.argv[3], sys.argv[3:])
"""
"""Writes the server's files, then replaces itself with the server."""

PRE_CMD_SCRIPT: Final = 'set -e; eval "$1"; shift; exec "$@"'


@dataclass(frozen=True)
class ModelServer:
    """A deployment on Lepton; jobs with the same deployment share one endpoint."""

    deployment: ServedDeployment
    settings: LeptonExecution
    target: Target

    @staticmethod
    def of(job: Job, settings: LeptonExecution) -> ModelServer | None:
        """Return the server of a job's deployment, or None where the job has no deployment."""
        deployment = job.deployment
        return None if isinstance(deployment, NoDeployment) else ModelServer(deployment, settings, job.target)

    @cached_property
    def config(self) -> LeptonConfig:
        """The deployment's `lepton_config`."""
        return self.deployment.lepton_config or LeptonConfig()

    @property
    def kind(self) -> ServerType:
        """The kind of server, which builds commands and routes."""
        return server_type(self.deployment.type)

    @property
    def port(self) -> int:
        """Port inside the container."""
        return self.deployment.port or DEFAULT_PORT

    @property
    def identity(self) -> Mapping[str, object]:
        """The values that distinguish one endpoint from another, as JSON; part of the endpoint's name."""
        return {
            "deployment": self.deployment.model_dump(mode="json"),
            "platform": self.settings.lepton_platform.deployment.model_dump(mode="json"),
            "model": self.target.api_endpoint.model_id,
            "revision": self.target.revision,
        }

    @cached_property
    def command(self) -> ServeCommand:
        """The server's command line, preceded by what writes its files and runs `pre_cmd`."""
        checkpoint = self.deployment.checkpoint_path
        binding = ServeBinding(
            host="0.0.0.0",  # noqa: S104 - the platform's proxy connects from outside the container
            port=self.port,
            work_dir=WORK_DIR,
            checkpoint=PurePosixPath(checkpoint) if checkpoint else None,
        )
        command = self.kind.command(self.deployment, binding)
        argv = command.argv
        if self.deployment.pre_cmd:
            argv = ("bash", "-c", PRE_CMD_SCRIPT, "server", self.deployment.pre_cmd, *argv)
        if command.files:
            argv = ("python3", "-c", WRITE_FILES_SCRIPT, str(WORK_DIR), json.dumps(dict(command.files)), *argv)
        return ServeCommand(argv=argv, env=command.env)

    def route(self, endpoint_type: EndpointType) -> str:
        """Return the URL path for a type of request."""
        return self.kind.route(self.deployment, endpoint_type)
