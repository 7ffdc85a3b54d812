"""Job keys: digests of everything that determines a job's result, equal on every machine."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nel_action.files import digest_tree
from nel_action.model.job import Key
from nel_action.planning.jobs import Context, Job
from nel_action.spec.evaluation import Task

__all__ = ["digest_key", "job_key"]


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
            "params": asdict(job.task.params),
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
            "salt": [context.salt, salt],
        }
        # NOTE: only if there are any, so that the keys of all other jobs do not change.
        | ({"auxiliary": _dump_auxiliary(job)} if job.auxiliary else {})
    )


def digest_key(identity: Mapping[str, Any]) -> Key:
    """Return the key for what determines a job's result."""
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), default=str)
    return Key(f"nel-{hashlib.sha256(text.encode()).hexdigest()[:16]}")


def _dump_auxiliary(job: Job) -> dict[str, Any]:
    return {name: deployment.model_dump(mode="json") for name, deployment in job.auxiliary.items()}


def _digest_file(path: str | None) -> str | None:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest() if path else None
