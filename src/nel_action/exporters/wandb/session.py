"""Connection to W&B through its own client: runs are written, read back and compared."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Final

from nel_action.exporters.interface import Change, DestinationError, ExportError
from nel_action.exporters.wandb.content import DIGEST, RunContent, WandbSettings
from nel_action.files import write_atomically
from nel_action.model.file_names import file_name
from nel_action.model.results import TaskResult, read_samples
from nel_action.report.store import samples_path

if TYPE_CHECKING:
    import wandb

__all__ = ["DEFAULT_URL", "Session"]

DEFAULT_URL: Final = "https://api.wandb.ai"

_TIMEOUT: Final = 30.0
"""Seconds for a response, and for the last upload."""


class Session:
    """Connection of one export."""

    def __init__(self, settings: WandbSettings, environ: Mapping[str, str], *, api_key: str | None) -> None:
        self._settings = settings
        self._environ = environ
        self._api_key = api_key
        self._base_url = environ.get("WANDB_BASE_URL") or DEFAULT_URL

    def send_online(self, content: RunContent, run_dir: Path) -> tuple[Change, str]:
        """Create or update a run at the service.

        Args:
            content: the run.
            run_dir: run directory with the samples.

        Returns:
            The change and the path of the run.

        Raises:
            DestinationError: the service does not respond, or has not stored the run.
            ExportError: the service rejected the key.
        """
        with self._client_environment() as scratch:
            stored = self._stored_digest(content)
            if stored == content.digest:
                return Change.UNCHANGED, self._path(content, None)
            self._write(content, run_dir, mode="online", root=scratch)
            if self._stored_digest(content) != content.digest:
                msg = f"W&B has not stored run {content.id}"
                raise DestinationError(msg)
            return Change.CREATED if stored is None else Change.UPDATED, self._path(content, None)

    def write_offline(self, content: RunContent, run_dir: Path) -> tuple[Change, str]:
        """Write the files of a run for `wandb sync`, and remove those of an earlier export.

        Args:
            content: the run.
            run_dir: run directory with the samples; the files are written here if no `offline_dir` is set.

        Returns:
            The change and the folder of the files.
        """
        root = Path(self._settings.offline_dir or run_dir)
        marker = root / "wandb" / f"nel-action-{content.id}.json"
        previous = json.loads(marker.read_bytes()) if marker.is_file() else {}
        old = Path(previous.get("folder", ""))
        if previous and previous.get("digest") == content.digest and old.is_dir():
            return Change.UNCHANGED, str(old)
        root.mkdir(parents=True, exist_ok=True)
        with self._client_environment():
            folder = self._write(content, run_dir, mode="offline", root=root)
        write_atomically(marker, json.dumps({"digest": content.digest, "folder": str(folder)}).encode())
        if previous and old != folder and old.parent == marker.parent.resolve():
            shutil.rmtree(old, ignore_errors=True)
        return Change.UPDATED if previous else Change.CREATED, str(folder)

    def _write(self, content: RunContent, run_dir: Path, *, mode: str, root: Path) -> Path:
        import wandb

        settings = self._settings
        run = wandb.init(
            entity=settings.entity,
            project=settings.project,
            id=content.id,
            name=content.name,
            group=content.group,
            job_type=settings.job_type,
            tags=content.tags,
            notes=settings.description,
            mode="offline" if mode == "offline" else "online",
            resume=None if mode == "offline" else "allow",
            reinit="create_new",
            settings=self._client_settings(root),
        )
        try:
            run.config.update(dict(content.config), allow_val_change=True)
            run.summary.update(dict(content.summary))
            for artifact in self._artifacts(content, run_dir):
                run.log_artifact(artifact)
            folder = Path(run.dir).resolve().parent
        finally:
            run.finish()
        return folder

    def _artifacts(self, content: RunContent, run_dir: Path) -> Iterator[wandb.Artifact]:
        import wandb

        if content.files:
            files = wandb.Artifact(f"files-{file_name(content.id, at_sign=False)}", "evaluation-files")
            for file in content.files:
                files.add_file(str(file.path), name=file.name)
            yield files
        for task in content.tasks:
            path = samples_path(run_dir, task) if self._settings.samples else None
            if path and path.is_file():
                table = wandb.Artifact(f"samples-{file_name(task.key, at_sign=False)}", "evaluation-samples")
                table.add(_table(task, path, self._settings.samples), "samples")
                yield table

    def _client_settings(self, root: Path) -> wandb.Settings:
        import wandb

        # NOTE: nothing but the content is sent: no code, environment, console output or data of the machine.
        return wandb.Settings(
            api_key=self._api_key,
            base_url=self._base_url,
            root_dir=str(root),
            program="nel-action",
            console="off",
            silent=True,
            disable_git=True,
            disable_code=True,
            x_disable_meta=True,
            x_disable_stats=True,
            x_disable_machine_info=True,
            x_save_requirements=False,
            init_timeout=_TIMEOUT,
            finish_timeout=_TIMEOUT,
            finish_timeout_raises=True,
            x_graphql_retry_max=2,
            x_file_stream_retry_max=2,
            x_file_transfer_retry_max=2,
        )

    def _stored_digest(self, content: RunContent) -> str | None:
        """Read the digest of the run with the same id from the service; None if there is no such run."""
        import wandb

        api = wandb.Api(overrides={"base_url": self._base_url}, api_key=self._api_key, timeout=int(_TIMEOUT))
        try:
            config = api.run(self._path(content, api.default_entity)).config
        except (wandb.errors.CommError, ValueError) as error:
            if "ould not find run" in str(error):
                return None
            raise
        return str(config.get(DIGEST, ""))

    def _path(self, content: RunContent, entity: str | None) -> str:
        return "/".join(part for part in (self._settings.entity or entity, self._settings.project, content.id) if part)

    @contextmanager
    def _client_environment(self) -> Iterator[Path]:
        """Translate the client's errors, and confine its variables, files and cache to this call."""
        with TemporaryDirectory(prefix="nel-action-wandb-") as scratch, _variables(self._environ, Path(scratch)):
            import requests
            import wandb

            try:
                yield Path(scratch)
            except (wandb.errors.Error, requests.RequestException, TimeoutError) as error:
                raise self._translated(error) from error

    def _translated(self, error: Exception) -> ExportError:
        """Tell a rejected key from an unavailable service; the client raises the same error for both."""
        message = " ".join(str(error).split())[:300]
        if re.search(r"\berror 40[13]\b|invalid", message):
            return ExportError(
                "W&B rejected the API key", hint="check WANDB_API_KEY, or the file that WANDB_API_KEY_FILE names"
            )
        return DestinationError(f"W&B at {self._base_url} has not accepted the run: {message}")


@contextmanager
def _variables(environ: Mapping[str, str], scratch: Path) -> Iterator[None]:
    # NOTE: the client reads these only from the environment of the process, which is restored afterwards.
    own = {
        "WANDB_ERROR_REPORTING": "false",
        "WANDB_SILENT": "true",
        "WANDB_CACHE_DIR": str(scratch / "cache"),
        "WANDB_DATA_DIR": str(scratch / "data"),
        "WANDB_CONFIG_DIR": str(scratch / "config"),
    }
    previous = {name: os.environ.get(name) for name in own}
    os.environ.update({name: environ.get(name, value) for name, value in own.items()})
    try:
        yield
    finally:
        for name, value in previous.items():
            os.environ.pop(name, None) if value is None else os.environ.update({name: value})


def _table(task: TaskResult, path: Path, limit: int) -> wandb.Table:
    import wandb

    metrics = [score.metric for score in task.scores]
    table = wandb.Table(columns=["id", "repeat", "input", "output", "expected", *metrics])
    for sample in islice(read_samples(path), limit):
        scores = [sample.scores.get(metric) for metric in metrics]
        table.add_data(sample.id, sample.repeat, sample.input, sample.output, sample.expected, *scores)
    return table
