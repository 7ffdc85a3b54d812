"""The Job and the Secret of an attempt; pure functions."""

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

__all__ = [
    "HARNESS",
    "KEY_LABEL",
    "NUMBER_LABEL",
    "RESULTS",
    "SELECTOR",
    "build_job",
    "build_secret",
    "harness_command",
]

KEY_LABEL: Final = "nel-action/key"
NUMBER_LABEL: Final = "nel-action/attempt"
INVOCATION_LABEL: Final = "nel-action/invocation"
SELECTOR: Final = "app.kubernetes.io/managed-by=nel-action"
"""Selects all objects that nel-action created."""

HARNESS: Final = "harness"
"""The init container that runs the harness; its log is the harness's log."""
RESULTS: Final = "results"
"""The container that writes the results to its log; it starts when the harness has exited, with any status."""

DIRECTORY: Final = PurePosixPath("/nel-action")
"""Mount point of the pod's own volume in both containers."""

PLACEHOLDER_FILE: Final = "file.none"

HARNESS_SCRIPT: Final = """\
mkdir -p /nel-action/work /nel-action/artifacts && cp -R /nel-action-files/. /nel-action/work/ && cd /nel-action/work
"$@" 2>&1
echo $? > /nel-action/exit
"""

PACK_SCRIPT: Final = """\
tar -C /nel-action/artifacts -czf /nel-action/packed . || exit 125
echo "begin $(sha256sum < /nel-action/packed)"
base64 /nel-action/packed
echo end
exit "$(cat /nel-action/exit)"
"""
"""Writes the results with their digest to the log, so that neither volumes nor storage are needed."""


def harness_command(job: Job) -> Command:
    """Return the harness's command with the paths of the pod."""
    endpoint = job.target.api_endpoint
    binding = Binding(
        url=endpoint.url or "",
        model_id=endpoint.model_id or "",
        output_dir=DIRECTORY / "artifacts",
        work_dir=DIRECTORY / "work",
        api_key_name=endpoint.api_key_name,
    )
    return harness(job.harness).command(job.task, binding)


def build_secret(job: Job, number: int, environ: Mapping[str, str]) -> dict[str, Any]:
    """Return the Secret with the values of the variables and the command's files.

    Args:
        job: the job.
        number: the attempt's number.
        environ: source of the values of `host:` variables.

    Raises:
        SecretError: a variable is not set in `environ`.
    """
    command = harness_command(job)
    values = {name: _value(name, reference, environ) for name, reference in job.env.items()}
    values |= {name: values[source] for name, source in command.secret_env.items() if source in values}
    data = {f"env.{name}": value for name, value in values.items()}
    data |= {PLACEHOLDER_FILE: ""} | {f"file.{index}": text for index, text in enumerate(command.files.values())}
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
    msg = f"{name}: the variable {reference.value} is not set"
    raise SecretError(msg, hint=f"export {reference.value}=…")


def _labels(job: Job, number: int) -> dict[str, str]:
    label, _, value = SELECTOR.partition("=")
    return {label: value, KEY_LABEL: str(job.key), NUMBER_LABEL: str(number)}


def build_job(job: Job, number: int, invocation: str, settings: KubernetesExecution) -> dict[str, Any]:
    """Return the Job: one pod that the cluster does not restart, since a retry is a new attempt.

    Args:
        job: the job.
        number: the attempt's number.
        invocation: id of the invocation.
        settings: the settings of the executor.
    """
    name, labels = attempt_name(job.key, number), _labels(job, number)
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "initContainers": [_harness(job, name, settings)],
        "containers": [
            {
                "name": RESULTS,
                "image": job.image or settings.image,
                "command": ["sh", "-c", _literal(PACK_SCRIPT)],
                "volumeMounts": [{"name": "shared", "mountPath": str(DIRECTORY)}],
            }
        ],
        "volumes": [
            {"name": "shared", "emptyDir": {}},
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
            "labels": {**labels, INVOCATION_LABEL: invocation},
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
    # NOTE: an empty list would select all keys of the Secret, including the values of variables.
    return paths or [{"key": PLACEHOLDER_FILE, "path": ".none"}]


def _literal(text: str) -> str:
    """Escape a text in which Kubernetes would expand `$(NAME)` and `$$`."""
    return text.replace("$", "$$")


def _harness(job: Job, name: str, settings: KubernetesExecution) -> dict[str, Any]:
    command = harness_command(job)
    secret_variables = dict.fromkeys([*job.env, *command.secret_env])
    references = {variable: {"secretKeyRef": {"name": name, "key": f"env.{variable}"}} for variable in secret_variables}
    return {
        "name": HARNESS,
        "image": job.image or settings.image,
        "command": ["sh", "-c", *map(_literal, (HARNESS_SCRIPT, "sh", *command.argv))],
        "env": [
            *({"name": variable, "value": _literal(value)} for variable, value in command.env.items()),
            *({"name": variable, "valueFrom": reference} for variable, reference in references.items()),
        ],
        "resources": settings.resources,
        "volumeMounts": [
            {"name": "shared", "mountPath": str(DIRECTORY)},
            {"name": "files", "mountPath": "/nel-action-files", "readOnly": True},
        ],
    }
