"""A job of nel-action as the objects of a cluster: a Job, and a Secret with what the Job needs."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any, Final

from nel_action.errors import SecretError
from nel_action.harnesses.interface import Binding, Command
from nel_action.harnesses.registry import harness
from nel_action.model.env_ref import EnvRef
from nel_action.model.job import attempt_name
from nel_action.planning.jobs import Job
from nel_action_kubernetes.settings import KubernetesExecution

__all__ = ["ATTEMPT", "HARNESS", "KEY", "OURS", "RESULTS", "build_job", "build_secret", "harness_command"]

KEY: Final = "nel-action/key"
ATTEMPT: Final = "nel-action/attempt"
INVOCATION: Final = "nel-action/invocation"
OURS: Final = "app.kubernetes.io/managed-by=nel-action"
"""Selects everything of ours."""

HARNESS: Final = "harness"
"""The container whose log is the harness's."""
RESULTS: Final = "results"
"""The container whose log is the results: it starts when the harness has ended, well or not."""

PLACE: Final = PurePosixPath("/nel-action")
"""Where the pod's own folder is in both containers."""

NO_FILE: Final = "file.none"

EVALUATE: Final = """\
mkdir -p /nel-action/work /nel-action/artifacts && cp -R /nel-action-files/. /nel-action/work/ && cd /nel-action/work
"$@" 2>&1
echo $? > /nel-action/exit
"""

PACK: Final = """\
tar -C /nel-action/artifacts -czf /nel-action/packed . || exit 125
echo "begin $(sha256sum < /nel-action/packed)"
base64 /nel-action/packed
echo end
exit "$(cat /nel-action/exit)"
"""
"""Results travel through the log of a container of their own: no volume and no storage are needed."""


def harness_command(job: Job) -> Command:
    """Return what the harness says to run, bound to the places in the pod."""
    endpoint = job.target.api_endpoint
    binding = Binding(
        url=endpoint.url or "",
        model_id=endpoint.model_id or "",
        output_dir=PLACE / "artifacts",
        work_dir=PLACE / "work",
        api_key_name=endpoint.api_key_name,
    )
    return harness(job.harness).command(job.task, binding)


def build_secret(job: Job, number: int, environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the Secret: the values of `host:` variables, and the command's files.

    Raises:
        SecretError: a variable has no value here.
    """
    command = harness_command(job)
    values = {name: _value(name, reference, environ) for name, reference in job.env.items()}
    values |= {name: values[source] for name, source in command.secret_env.items() if source in values}
    data = {f"env.{name}": value for name, value in values.items()}
    data |= {NO_FILE: ""} | {f"file.{index}": text for index, text in enumerate(command.files.values())}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": attempt_name(job.key, number), "labels": _labels(job, number)},
        "data": {name: base64.b64encode(value.encode()).decode() for name, value in data.items()},
    }


def _value(name: str, reference: EnvRef, environ: Mapping[str, str]) -> str:
    if reference.literal_value is not None:
        return reference.literal_value
    if reference.host_name in environ:
        return environ[reference.value]
    msg = f"{name}: the variable {reference.value} is not set here"
    raise SecretError(msg, hint=f"export {reference.value}=…")


def _labels(job: Job, number: int) -> dict[str, str]:
    manager, _, us = OURS.partition("=")
    return {manager: us, KEY: str(job.key), ATTEMPT: str(number)}


def build_job(job: Job, number: int, invocation: str, settings: KubernetesExecution) -> dict[str, Any]:
    """Return the Job. One pod, never tried again by the cluster: a second try is another attempt of ours."""
    name, labels = attempt_name(job.key, number), _labels(job, number)
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "initContainers": [_harness(job, name, settings)],
        "containers": [
            {
                "name": RESULTS,
                "image": job.image or settings.image,
                "command": ["sh", "-c", _literal(PACK)],
                "volumeMounts": [{"name": "place", "mountPath": str(PLACE)}],
            }
        ],
        "volumes": [
            {"name": "place", "emptyDir": {}},
            {"name": "files", "secret": {"secretName": name, "items": _files(job)}},
        ],
    }
    if settings.service_account:
        pod["serviceAccountName"] = settings.service_account
    if settings.image_pull_secrets:
        pod["imagePullSecrets"] = [{"name": secret} for secret in settings.image_pull_secrets]
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": name,
            "labels": {**labels, INVOCATION: invocation},
            "annotations": {"nel-action/task": job.name, "nel-action/model": job.model},
        },
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": max(1, round(job.timeout)),
            "ttlSecondsAfterFinished": settings.keep,
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }


def _files(job: Job) -> list[dict[str, str]]:
    paths = [{"key": f"file.{index}", "path": path} for index, path in enumerate(harness_command(job).files)]
    # NOTE: a list that is empty would mean all keys of the Secret, the values of variables among them.
    return paths or [{"key": NO_FILE, "path": ".none"}]


def _literal(text: str) -> str:
    """Keep Kubernetes from filling in `$(NAME)`, and from taking `$$` for `$`."""
    return text.replace("$", "$$")


def _harness(job: Job, name: str, settings: KubernetesExecution) -> dict[str, Any]:
    command = harness_command(job)
    secret = [*job.env, *command.secret_env]
    references = {
        variable: {"secretKeyRef": {"name": name, "key": f"env.{variable}"}} for variable in dict.fromkeys(secret)
    }
    return {
        "name": HARNESS,
        "image": job.image or settings.image,
        "command": ["sh", "-c", *map(_literal, (EVALUATE, "sh", *command.argv))],
        "env": [
            *({"name": variable, "value": _literal(value)} for variable, value in command.env.items()),
            *({"name": variable, "valueFrom": reference} for variable, reference in references.items()),
        ],
        "resources": settings.resources,
        "volumeMounts": [
            {"name": "place", "mountPath": str(PLACE)},
            {"name": "files", "mountPath": "/nel-action-files", "readOnly": True},
        ],
    }
