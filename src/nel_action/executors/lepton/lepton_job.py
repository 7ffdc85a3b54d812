"""A job bound to the platform: what its container runs, and what that needs."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Final

from nel_action.errors import UsageError
from nel_action.executors.hooks import with_hooks
from nel_action.executors.lepton.model_server import Serving
from nel_action.executors.lepton.names import TOKEN
from nel_action.harnesses.interface import Binding, Command
from nel_action.harnesses.registry import harness
from nel_action.model.job import attempt_name
from nel_action.planning.jobs import Job
from nel_action.spec.lepton import LeptonExecution, LeptonMount

__all__ = ["BoundJob"]

CHUNK: Final = 96 * 1024
"""Characters of one argument; Linux takes 128 KiB."""

LARGEST: Final = 768 * 1024
"""Characters of all arguments: what the platform keeps a job in takes about 1 MiB."""


@dataclass(frozen=True)
class BoundJob:
    """Everything of an attempt that its job is made from; nothing secret."""

    job: Job
    number: int
    settings: LeptonExecution
    base_dir: Path
    """Folder of the spec on this machine."""
    base_url: str | None = None
    """Address of the endpoint, where the job needs one and it is known."""

    @property
    def name(self) -> str:
        """The attempt's name, and that of the Lepton job."""
        return attempt_name(self.job.key, self.number)

    @cached_property
    def serving(self) -> Serving | None:
        """The endpoint that it needs, if any."""
        return Serving.of(self.job, self.settings)

    @property
    def storage(self) -> LeptonMount | None:
        """The mounted volume that results stay on, if any."""
        mounts = self.settings.lepton_platform.tasks.mounts
        return mounts[0] if mounts and self.settings.evaluation_tasks.use_shared_storage else None

    @property
    def home(self) -> PurePosixPath:
        """The attempt's folder as its container sees it."""
        storage = self.storage
        if storage is None:
            return PurePosixPath(self.settings.evaluation_tasks.work_dir) / self.name
        return PurePosixPath(storage.mount_path) / "nel-action" / self.name

    @property
    def url(self) -> str:
        """The route that the harness speaks to."""
        if self.serving is None:
            return self.job.target.api_endpoint.url or ""
        return (self.base_url or self.serving.placeholder) + self.serving.route(self.job.task.endpoint_type)

    @property
    def api_key_name(self) -> str | None:
        """The variable with the key of that route: an endpoint of ours has a token of its own."""
        return TOKEN if self.serving else self.job.target.api_endpoint.api_key_name

    @cached_property
    def command(self) -> Command:
        """What evaluates, its hooks included."""
        binding = Binding(
            url=self.url,
            model_id=self.job.target.api_endpoint.model_id or "",
            output_dir=self.home / "artifacts",
            work_dir=self.home / "work",
            api_key_name=self.api_key_name,
            task_dir=self.home / "task" if self.job.task.task_dir else None,
        )
        found = harness(self.job.harness).command(self.job.task, binding)
        return with_hooks(found, self.job)

    @property
    def folders(self) -> Mapping[str, tuple[Path, str]]:
        """Folders of this machine that go along with the job: word → where it is here, and where it goes."""
        found = {}
        if self.job.task.task_dir:
            found["task"] = (self.job.task.task_dir, str(self.home / "task"))
        if self.job.dataset and self.sends_dataset:
            found["dataset"] = (Path(self.job.dataset[0]), self.job.dataset[1])
        return found

    @property
    def sends_dataset(self) -> bool:
        """Whether the data are beside the spec; other paths are those of the mounted volume."""
        source = Path(self.job.dataset[0]) if self.job.dataset else None
        return source is not None and source.is_relative_to(self.base_dir.absolute()) and source.is_dir()

    def argv(self, hidden: list[str]) -> list[str]:
        """Return the container's command: a program, what it is to do, and the folders that it needs.

        Args:
            hidden: variables whose values must not be seen in the log.

        Raises:
            UsageError: a folder cannot be read, or is too large to go along.
        """
        sent = self._packed()
        chunks = [sent[start : start + CHUNK] for start in range(0, len(sent), CHUNK)]
        # NOTE: the platform below may replace `$(NAME)` in a command's words; JSON can do without the sign.
        order = json.dumps(self.order(hidden), separators=(",", ":")).replace("$", "\\u0024")
        words = ["python3", "-c", _program(), order, *chunks]
        if len(order) > CHUNK or sum(map(len, words)) > LARGEST:
            size = sum(map(len, words)) // 1024
            msg = (
                f"{self.job.name}: what must go along with the job is too large ({size} KiB packed, of {LARGEST >> 10})"
            )
            raise UsageError(msg, hint="put task_dir or dataset_dir into the image or on a mounted volume")
        return words

    def order(self, hidden: list[str]) -> dict[str, Any]:
        """Return what the program in the container is told."""
        serving = self.serving
        health = None
        if serving is not None:
            patience = self.settings.lepton_platform.deployment.endpoint_readiness_timeout
            address = (self.base_url or serving.placeholder) + serving.deployment.endpoints.health
            health = {"url": address, "key": TOKEN, "seconds": round(patience)}
        return {
            "attempt": self.name,
            "home": str(self.home),
            "keep": self.storage is not None,
            "argv": list(self.command.argv),
            "env": dict(self.command.env),
            "secret_env": dict(self.command.secret_env),
            "files": dict(self.command.files),
            "folders": {word: target for word, (_, target) in self.folders.items()},
            "hidden": hidden,
            "timeout": round(self.job.timeout),
            "grace": 20,
            "pause": 2,
            "health": health,
            "limit": self.settings.evaluation_tasks.log_limit << 20,
        }

    def _packed(self) -> str:
        """Return the folders as a tar archive in base64; empty where there are none."""
        if not self.folders:
            return ""
        buffer = io.BytesIO()
        try:
            with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
                for word, (source, _) in self.folders.items():
                    archive.add(source, word, filter=_plain)
        except OSError as error:
            msg = f"cannot read {error.filename or self.job.name}: {error.strerror}"
            raise UsageError(msg) from error
        return base64.b64encode(buffer.getvalue()).decode()


def _plain(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
    if "__pycache__" in PurePosixPath(member.name).parts:
        return None
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime = 0
    return member


@cache
def _program() -> str:
    return Path(__file__).with_name("job_entrypoint.py").read_text(encoding="utf-8")
