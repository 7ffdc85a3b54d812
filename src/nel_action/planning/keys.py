"""Job keys: digests of everything that determines a job's result, equal on every machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final

from nel_action.files import digest_tree
from nel_action.model.job import Key
from nel_action.planning.fingerprint import ABSOLUTE_PATH, FURTHER
from nel_action.planning.jobs import Context, Job
from nel_action.spec.evaluation import Task

__all__ = ["digest_key", "job_key"]

_OPERATION: Final = frozenset({"parallelism", "request_timeout", "max_retries"})
"""Parameters that do not change an answer."""
_READ_BY_BENCHMARKS: Final = (
    *("execution.mounts.", "execution.network", "execution.extra_docker_args", "execution.runtime_args"),
    *("execution.environment.", "execution.environments.", "execution.lepton_platform.tasks."),
)
_MAX_DIGESTED: Final = 64 * 1024**2
"""Bytes; a larger file is identified by its size and modification time."""


def job_key(job: Job, task: Task, context: Context, salt: str) -> Key:
    """Return the key of a job.

    Args:
        job: complete except for its key.
        task: the task in the spec; its paths are relative and therefore equal on every machine.
        context: commit and repository that identify the model.
        salt: `execution.salt`.
    """
    api = job.target.api_endpoint
    return digest_key(
        {
            "task": [job.harness, job.task.name, job.task.endpoint_type, job.task.command, job.task.config],
            "params": {name: value for name, value in asdict(job.task.params).items() if name not in _OPERATION},
            "task_dir": digest_tree(job.task.task_dir) if job.task.task_dir else None,
            "image": job.image_digest or job.image,
            "requirements": _digest_file(job.requirements),
            "target": [api.url, api.model_id, api.type],
            "change": job.target.revision or context.commit,
            "deployment": job.deployment.model_dump(mode="json"),
            "env": {name: str(reference) for name, reference in job.env.items()},
            "dataset": [task.dataset_dir, task.dataset_mount_path] if task.dataset_dir else None,
            "commands": [job.pre_cmd, job.post_cmd],
            "repository": context.repository,
            "salt": [context.salt if job.pinned else context.nonce, salt],
        }
        # NOTE: only if there are any, so that the keys of all other jobs do not change.
        | ({"auxiliary": _dump_auxiliary(job)} if job.auxiliary else {})
        | ({"adapter": dict(job.adapter.steps)} if job.adapter.steps else {})
        | ({"command_files": files} if (files := _digest_command_files(job)) else {})
        | ({"further_files": further} if (further := _further_files(job)) else {})
        | ({"execution": settings} if (settings := _execution_settings(job)) else {})
    )


def digest_key(identity: Mapping[str, Any]) -> Key:
    """Return the key for what determines a job's result."""
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), default=str)
    return Key(f"nel-{hashlib.sha256(text.encode()).hexdigest()[:16]}")


def _further_files(job: Job) -> dict[str, str]:
    """Return the digests of files of the repository that are read in addition to those of the task."""
    return {name: digest for name, digest in (job.fingerprint or {}).items() if f":{FURTHER}" in name}


def _execution_settings(job: Job) -> dict[str, str]:
    """Return the settings of the executor that change what a benchmark reads, such as mounts."""
    return {path: value for path, value in (job.fingerprint or {}).items() if path.startswith(_READ_BY_BENCHMARKS)}


def _dump_auxiliary(job: Job) -> dict[str, Any]:
    return {name: deployment.model_dump(mode="json") for name, deployment in job.auxiliary.items()}


def _digest_command_files(job: Job) -> dict[str, str]:
    """Return the digests of files outside `task_dir` that the command of a process names by absolute paths.

    Binary programs are omitted: they differ between machines. A path in a container is not a path on this machine.
    """
    if job.image is not None or job.task.command is None:
        return {}
    paths = (Path(text) for argument in job.task.command for text in ABSOLUTE_PATH.findall(argument))
    return {str(path): digest for path in paths if (digest := _digest_text_file(path)) is not None}


def _digest_text_file(path: Path) -> str | None:
    """Return the digest of a file; None if it is no file or a binary program."""
    try:
        if not path.is_file():
            return None
        size = path.stat().st_size
        if size > _MAX_DIGESTED:
            return f"{size} bytes of {path.stat().st_mtime_ns}"
        content = path.read_bytes()
    except OSError as error:
        return f"unreadable: {error.strerror}"
    return None if content.startswith(b"\x7fELF") else hashlib.sha256(content).hexdigest()


def _digest_file(path: str | None) -> str | None:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest() if path else None
