"""The endpoint that a deployment means: its name, its server's command and its routes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePosixPath
from typing import Final

from nel_action.model.task import EndpointType
from nel_action.model_servers.interface import ServeBinding, ServeCommand, Server
from nel_action.model_servers.registry import server
from nel_action.planning.jobs import Job
from nel_action.spec.deployment import NoDeployment, ServedDeployment
from nel_action.spec.lepton import LeptonConfig, LeptonExecution
from nel_action.spec.target import Target

__all__ = ["Serving"]

USUAL_PORT: Final = 8000
WORK: Final = PurePosixPath("/tmp/nel-server")  # noqa: S108 - of a container of its own

PLACE: Final = """\
import json, os, sys
for name, text in json.loads(sys.argv[2]).items():
    path = os.path.join(sys.argv[1], name)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
os.execvp(sys.argv[3], sys.argv[3:])
"""
"""Writes the server's files, and becomes the server."""

WITH_PRE_CMD: Final = 'set -e; eval "$1"; shift; exec "$@"'


@dataclass(frozen=True)
class Serving:
    """A deployment on the platform; jobs of the same one share an endpoint."""

    deployment: ServedDeployment
    settings: LeptonExecution
    target: Target

    @staticmethod
    def of(job: Job, settings: LeptonExecution) -> Serving | None:
        """Return what serves a job's model, or None where somebody else does."""
        found = job.deployment
        return None if isinstance(found, NoDeployment) else Serving(found, settings, job.target)

    @cached_property
    def config(self) -> LeptonConfig:
        """How the platform serves it."""
        return self.deployment.lepton_config or LeptonConfig()

    @property
    def kind(self) -> Server:
        """What knows this kind of server."""
        return server(self.deployment.type)

    @property
    def port(self) -> int:
        """Where the server listens in its container."""
        return self.deployment.port or USUAL_PORT

    @property
    def placeholder(self) -> str:
        """What stands for the address before the platform has told it."""
        return "https://ADDRESS-OF-THE-ENDPOINT"

    @property
    def identity(self) -> Mapping[str, object]:
        """What tells one endpoint from another."""
        return {
            "deployment": self.deployment.model_dump(mode="json"),
            "platform": self.settings.lepton_platform.deployment.model_dump(mode="json"),
            "model": self.target.api_endpoint.model_id,
            "revision": self.target.revision,
        }

    @cached_property
    def command(self) -> ServeCommand:
        """The server's command line; its files and `pre_cmd` come first, as arguments of one program each."""
        checkpoint = self.deployment.checkpoint_path
        binding = ServeBinding(
            host="0.0.0.0",  # noqa: S104 - the platform's gateway reaches the container from outside
            port=self.port,
            work_dir=WORK,
            checkpoint=PurePosixPath(checkpoint) if checkpoint else None,
        )
        command = self.kind.command(self.deployment, binding)
        words = command.argv
        if self.deployment.pre_cmd:
            words = ("bash", "-c", WITH_PRE_CMD, "server", self.deployment.pre_cmd, *words)
        if command.files:
            words = ("python3", "-c", PLACE, str(WORK), json.dumps(dict(command.files)), *words)
        return ServeCommand(argv=words, env=command.env)

    def route(self, endpoint_type: EndpointType) -> str:
        """Return the path for that kind of request."""
        return self.kind.route(self.deployment, endpoint_type)
