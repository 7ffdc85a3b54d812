"""An attempt of a job in the form that Lepton runs: paths, variables and the container's command."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property, partial
from pathlib import Path, PurePosixPath
from typing import Any, Final

from nel_action.errors import UsageError
from nel_action.executors.gateway import (
    COUNTERS_FILE,
    UPSTREAM_KEY,
    behind_gateway,
    gateway_config,
    gateway_url,
    pack_gateway,
)
from nel_action.executors.hooks import with_hooks
from nel_action.executors.lepton.environment import ENDPOINT_TOKEN
from nel_action.executors.lepton.job_entrypoint import GATEWAY
from nel_action.executors.lepton.model_server import ADDRESS_PLACEHOLDER, ModelServer
from nel_action.files import is_generated
from nel_action.gateway.runner import PLACEHOLDER
from nel_action.harnesses.interface import Binding, Command
from nel_action.harnesses.registry import harness
from nel_action.model.job import attempt_name
from nel_action.planning.jobs import Job
from nel_action.spec.lepton import LeptonExecution, LeptonMount

__all__ = ["ATTEMPTS_DIRECTORY", "LeptonJob"]

ATTEMPTS_DIRECTORY: Final = "nel-action"
"""Directory on a mounted volume that contains one directory per attempt."""

MAX_ARGUMENT_LENGTH: Final = 96 * 1024
"""Characters of one argument; Linux accepts 128 KiB."""

MAX_COMMAND_LENGTH: Final = 768 * 1024
"""Characters of all arguments; the platform stores a job in an object of at most about 1 MiB."""

STOP_SECONDS: Final = 20
"""Seconds between SIGTERM and SIGKILL for the harness."""

HEALTH_INTERVAL: Final = 2
"""Seconds between two health checks of the endpoint."""


@dataclass(frozen=True)
class LeptonJob:
    """One attempt of a job with all settings that its request body is built from; contains no secrets."""

    job: Job
    number: int
    """The attempt's number, from 1."""
    settings: LeptonExecution
    base_dir: Path
    """Directory of the spec on this machine."""
    base_url: str | None = None
    """Address of the endpoint, where the job needs one and the address is known."""

    @property
    def name(self) -> str:
        """The attempt's name, used as the Lepton job's name."""
        return attempt_name(self.job.key, self.number)

    @cached_property
    def model_server(self) -> ModelServer | None:
        """The server of the endpoint that the job needs, if any."""
        return ModelServer.of(self.job, self.settings)

    @property
    def storage(self) -> LeptonMount | None:
        """The mounted volume that keeps the results, if any."""
        mounts = self.settings.lepton_platform.tasks.mounts
        return mounts[0] if mounts and self.settings.evaluation_tasks.use_shared_storage else None

    @property
    def directory(self) -> PurePosixPath:
        """The attempt's directory inside the container."""
        storage = self.storage
        if storage is None:
            return PurePosixPath(self.settings.evaluation_tasks.work_dir) / self.name
        return PurePosixPath(storage.mount_path) / ATTEMPTS_DIRECTORY / self.name

    @property
    def url(self) -> str:
        """URL of the route that the harness sends requests to."""
        if self.model_server is None:
            return self.job.target.api_endpoint.url or ""
        return (self.base_url or ADDRESS_PLACEHOLDER) + self.model_server.route(self.job.task.endpoint_type)

    @property
    def api_key_name(self) -> str | None:
        """Name of the variable with the key for `url`: an endpoint that nel-action creates has its own token."""
        return ENDPOINT_TOKEN if self.model_server else self.job.target.api_endpoint.api_key_name

    @cached_property
    def command(self) -> Command:
        """The harness's command, including the task's hooks."""
        binding = Binding(
            url=gateway_url(self.url) if self.job.gateway else self.url,
            model_id=self.job.target.api_endpoint.model_id or "",
            output_dir=self.directory / "artifacts",
            work_dir=self.directory / "work",
            api_key_name=self.api_key_name,
            task_dir=self.directory / "task" if self.job.task.task_dir else None,
        )
        task = behind_gateway(self.job).task if self.job.gateway else self.job.task
        return with_hooks(harness(self.job.harness).command(task, binding), self.job)

    def gateway_order(self, invocation: str) -> dict[str, Any] | None:
        """Return the instructions for the gateway; None if the job has none.

        Args:
            invocation: ID of the invocation.
        """
        settings, key = self.job.gateway, self.api_key_name
        if settings is None:
            return None
        counters = str(self.directory / "logs" / COUNTERS_FILE)
        config = gateway_config(
            self.job, url=self.url, record=None, counters=counters, attempt=self.number, invocation=invocation
        )
        aliases = [alias for alias, source in self.command.secret_env.items() if source == key]
        options = [item for name in dict.fromkeys([key, *aliases]) if key and name for item in ("--token-env", name)]
        for name, text in self.command.files.items():
            if PLACEHOLDER in text:
                options += ["--file", str(self.directory / "work" / name)]
        if harness(self.job.harness).starts_over:
            options += ["--clear", str(self.directory / "artifacts"), "--earlier", str(self.directory / "earlier")]
        record = self.directory.parent / "record" / self.job.key if self.storage is not None else None
        return {
            "config": config | {"api_key_name": UPSTREAM_KEY if key else ""},
            "options": options,
            "key": key,
            "upstream_key": UPSTREAM_KEY,
            "record": str(record) if record is not None else "",
            "keep_days": settings.keep_days,
        }

    @property
    def directories(self) -> Mapping[str, tuple[Path, str]]:
        """Directories that are sent with the job: label to path on this machine and path in the container."""
        directories = {}
        if self.job.task.task_dir:
            directories["task"] = (self.job.task.task_dir, str(self.directory / "task"))
        if self.job.dataset and self.sends_dataset:
            directories["dataset"] = (Path(self.job.dataset[0]), self.job.dataset[1])
        return directories

    @property
    def sends_dataset(self) -> bool:
        """Whether the dataset is below the spec's directory; other paths are paths of the mounted volume."""
        source = Path(self.job.dataset[0]) if self.job.dataset else None
        return source is not None and source.is_relative_to(self.base_dir.absolute()) and source.is_dir()

    def argv(self, secret_variables: list[str], invocation: str) -> list[str]:
        """Return the container's command: the entry point, its order, and the packed directories.

        Args:
            secret_variables: names of the variables whose values are redacted from the log.
            invocation: ID of the invocation.

        Raises:
            UsageError: a directory cannot be read, or the command is too long.
        """
        packed = self._packed_directories()
        chunks = [packed[start : start + MAX_ARGUMENT_LENGTH] for start in range(0, len(packed), MAX_ARGUMENT_LENGTH)]
        # NOTE: Kubernetes expands `$(NAME)` in a container's command; as a JSON escape the sign is not seen.
        order = json.dumps(self.order(secret_variables, invocation), separators=(",", ":")).replace("$", "\\u0024")
        argv = ["python3", "-c", _entrypoint_source(), order, *chunks]
        length = sum(map(len, argv))
        if len(order) > MAX_ARGUMENT_LENGTH or length > MAX_COMMAND_LENGTH:
            msg = (
                f"{self.job.name}: the files sent with the job are too large "
                f"({length >> 10} KiB packed; the limit is {MAX_COMMAND_LENGTH >> 10} KiB)"
            )
            raise UsageError(msg, hint="put task_dir or dataset_dir into the image or on a mounted volume")
        return argv

    def order(self, secret_variables: list[str], invocation: str) -> dict[str, Any]:
        """Return the instructions for the entry point, as JSON.

        Args:
            secret_variables: names of the variables whose values are redacted from the log.
            invocation: ID of the invocation.
        """
        model_server = self.model_server
        health = None
        if model_server is not None:
            timeout = self.settings.lepton_platform.deployment.endpoint_readiness_timeout
            url = (self.base_url or ADDRESS_PLACEHOLDER) + model_server.deployment.endpoints.health
            health = {"url": url, "key": ENDPOINT_TOKEN, "seconds": round(timeout)}
        return {
            "attempt": self.name,
            "home": str(self.directory),
            "keep": self.storage is not None,
            "argv": list(self.command.argv),
            "env": dict(self.command.env),
            "secret_env": dict(self.command.secret_env),
            "files": dict(self.command.files),
            "folders": {label: target for label, (_, target) in self.directories.items()},
            "hidden": secret_variables,
            "gateway": self.gateway_order(invocation),
            "timeout": round(self.job.timeout),
            "grace": STOP_SECONDS,
            "pause": HEALTH_INTERVAL,
            "health": health,
            "limit": self.settings.evaluation_tasks.log_limit << 20,
        }

    def _packed_directories(self) -> str:
        """Return the directories as a base64-encoded tar archive; empty where there are none.

        Raises:
            UsageError: a directory cannot be read.
        """
        if not self.directories and not self.job.gateway:
            return ""
        buffer = io.BytesIO()
        try:
            with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
                if self.job.gateway:
                    program = pack_gateway()
                    member = tarfile.TarInfo(GATEWAY)
                    member.size, member.mode = len(program), 0o600
                    archive.addfile(member, io.BytesIO(program))
                for label, (source, _) in self.directories.items():
                    archive.add(source, label, filter=partial(_normalized, source=source, label=label))
        except OSError as error:
            msg = f"cannot read {error.filename or self.job.name}: {error.strerror}"
            raise UsageError(msg) from error
        return base64.b64encode(buffer.getvalue()).decode()


def _normalized(member: tarfile.TarInfo, *, source: Path, label: str) -> tarfile.TarInfo | None:
    """Remove owner and time from an archive member; exclude bytecode, and from a task all generated files."""
    path = PurePosixPath(member.name)
    if "__pycache__" in path.parts:
        return None
    if label == "task" and member.name != label and is_generated(source / path.relative_to(label)):
        return None
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime = 0
    return member


@cache
def _entrypoint_source() -> str:
    return Path(__file__).with_name("job_entrypoint.py").read_text(encoding="utf-8")
