"""Request bodies that create jobs and endpoints; pure functions that do not import the SDK."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, Final

from nel_action.executors.lepton.environment import ENDPOINT_TOKEN, Environment
from nel_action.executors.lepton.jobs import (
    CREATOR_LABEL,
    ENDPOINT_LABEL,
    INVOCATION_LABEL,
    KEY_LABEL,
    MAX_NAME_LENGTH,
    NUMBER_LABEL,
    TASK_LABEL,
    label_value,
)
from nel_action.executors.lepton.lepton_job import LeptonJob
from nel_action.executors.lepton.model_server import ModelServer
from nel_action.model.env_ref import EnvRef
from nel_action.spec.lepton import LeptonExecution, LeptonToken

__all__ = [
    "INVOCATION_VARIABLE",
    "KEEP_VARIABLE",
    "endpoint_body",
    "endpoint_environment",
    "endpoint_name",
    "job_body",
    "job_environment",
]

INVOCATION_VARIABLE: Final = "NEL_ACTION_INVOCATION"
"""Variable that marks an endpoint as created by nel-action: the newer endpoint API does not support labels."""

KEEP_VARIABLE: Final = "NEL_ACTION_KEEP"
"""Variable that excludes an endpoint from deletion (`yes`)."""

IDLE_SECONDS: Final = 1800
"""Seconds without traffic after which an endpoint scales to zero, unless the spec sets another limit."""

NOT_READY_MARGIN: Final = 600
"""Seconds beyond the readiness timeout after which an endpoint that never became ready scales to zero."""

LEGACY_KEYS: Final = {"scale_from_zero": False, "enable_rdma": False}
"""Keys of older platform versions, with the value that is now the only behavior; they are omitted."""


def endpoint_name(model_server: ModelServer, invocation: str) -> str:
    """Return an endpoint's name: the spec's prefix and a digest.

    The digest depends on the invocation unless the endpoint is kept for later invocations.
    """
    owner = None if model_server.config.keep else invocation
    identity = json.dumps([model_server.identity, owner], sort_keys=True, default=str)
    digest = hashlib.sha256(identity.encode()).hexdigest()[:12]
    prefix = re.sub(r"[^a-z0-9-]+", "-", (model_server.config.endpoint_name or "nel").lower()).lstrip("-0123456789")
    return f"{prefix[: MAX_NAME_LENGTH - 13].rstrip('-') or 'nel'}-{digest}"


def job_environment(lepton_job: LeptonJob, created: float, token_secret: str | None) -> Environment:
    """Return the variables of a job.

    Args:
        lepton_job: the attempt.
        created: seconds since 1970, for the names of secrets.
        token_secret: name of the workspace secret with the endpoint's token, where the job needs an endpoint.
    """
    environment = Environment(lepton_job.name, created)
    for name in lepton_job.settings.env_var_names:
        environment.add_reference(name, EnvRef.host(name))
    for name, reference in lepton_job.job.env.items():
        environment.add_reference(name, reference)
    for name, value in lepton_job.settings.lepton_platform.tasks.env_vars.items():
        environment.add_value(name, value)
    if token_secret:
        environment.add_reference(ENDPOINT_TOKEN, EnvRef.runtime(token_secret))
    return environment


def job_body(
    lepton_job: LeptonJob, environment: Environment, *, invocation: str, node_group: str | None
) -> dict[str, Any]:
    """Return the body of `POST /jobs`.

    Args:
        lepton_job: the attempt.
        environment: its variables.
        invocation: id of the submitting invocation.
        node_group: id of the node group, where the spec names one.

    Raises:
        UsageError: the files to send are too large or cannot be read.
    """
    tasks, platform = lepton_job.settings.evaluation_tasks, lepton_job.settings.lepton_platform.tasks
    labels = {
        CREATOR_LABEL: "job",
        KEY_LABEL: str(lepton_job.job.key),
        NUMBER_LABEL: str(lepton_job.number),
        INVOCATION_LABEL: invocation,
        TASK_LABEL: label_value(lepton_job.job.task.display),
    }
    if lepton_job.model_server is not None:
        labels[ENDPOINT_LABEL] = endpoint_name(lepton_job.model_server, invocation)
    queue = _without_none(
        priority_class=tasks.priority_class, can_preempt=tasks.can_preempt, can_be_preempted=tasks.can_be_preempted
    )
    spec = _without_none(
        resource_shape=tasks.resource_shape,
        affinity=_affinity(node_group),
        container={"image": _image(lepton_job), "command": lepton_job.argv(environment.secret_variables, invocation)},
        completions=1,
        parallelism=1,
        max_failure_retry=0,
        max_job_failure_retry=tasks.retries,
        envs=environment.to_json(),
        mounts=_mounts(lepton_job),
        image_pull_secrets=list(platform.image_pull_secrets),
        shared_memory_size=tasks.shared_memory_size,
        ttl_seconds_after_finished=tasks.ttl_seconds_after_finished,
        log={"enable_collection": True, "save_termination_logs": True},
        queue_config=queue or None,
    )
    return {"metadata": {"name": lepton_job.name, "labels": labels, "visibility": "private"}, "spec": spec}


def _affinity(node_group: str | None) -> dict[str, Any] | None:
    return {"allowed_dedicated_node_groups": [node_group]} if node_group else None


def _image(lepton_job: LeptonJob) -> str | None:
    image, digest = lepton_job.job.image, lepton_job.job.image_digest
    return f"{image}@{digest}" if image and digest and "@" not in image else image


def _mounts(lepton_job: LeptonJob) -> list[dict[str, Any]]:
    mounts = lepton_job.settings.lepton_platform.tasks.mounts
    bodies = [
        _without_none(path=mount.path, mount_path=mount.mount_path) | {"from": mount.source or ""} for mount in mounts
    ]
    dataset = lepton_job.job.dataset
    if dataset and not lepton_job.sends_dataset:
        source = mounts[0].source if mounts else ""
        options = {"mount_options": {"read_only": True}}
        bodies.append({"path": dataset[0], "mount_path": dataset[1], "from": source or ""} | options)
    return bodies


def endpoint_environment(name: str, model_server: ModelServer, created: float, invocation: str) -> Environment:
    """Return the variables of an endpoint's server.

    Args:
        name: the endpoint's name.
        model_server: the server.
        created: seconds since 1970, for the names of secrets.
        invocation: id of the invocation that creates the endpoint.
    """
    environment = Environment(name, created)
    environment.plain |= {INVOCATION_VARIABLE: invocation, KEEP_VARIABLE: "yes" if model_server.config.keep else "no"}
    environment.plain |= model_server.command.env
    for variable, reference in model_server.deployment.env_vars.items():
        environment.add_reference(variable, reference)
    for variable, value in model_server.config.envs.items():
        environment.add_value(variable, value)
    return environment


def endpoint_body(
    name: str, model_server: ModelServer, environment: Environment, *, node_group: str | None, token: str
) -> dict[str, Any]:
    """Return the body that creates an endpoint, in the SDK's notation for both endpoint APIs.

    Args:
        name: the endpoint's name.
        model_server: the server.
        environment: its variables.
        node_group: id of the node group, where the spec names one.
        token: the token that nel-action generated for this endpoint.
    """
    config, deployment = model_server.config, model_server.deployment
    min_replicas = max(config.min_replicas, 1)
    defaults = _compact(model_server.settings.lepton_platform.deployment.platform_defaults)
    requirement = _without_none(
        resource_shape=config.resource_shape,
        affinity=_affinity(node_group),
        min_replicas=min_replicas,
        max_replicas=max(config.max_replicas, min_replicas),
        shared_memory_size=config.shared_memory_size,
    )
    spec = defaults | _without_none(
        container={
            "image": deployment.image,
            "command": list(model_server.command.argv),
            "ports": [{"container_port": model_server.port, "protocol": "TCP"}],
        },
        resource_requirement=requirement,
        auto_scaler=_auto_scaler(config.auto_scaler, model_server.settings),
        api_tokens=[*_tokens(model_server), {"value": token}],
        envs=environment.to_json(),
        mounts=_cache_mounts(model_server) or None,
        health=_merge(defaults.get("health") or {}, _compact(config.health)) or None,
    )
    return {"metadata": {"id": name, "name": name, "visibility": "private"}, "spec": spec}


def _auto_scaler(settings: Mapping[str, Any], execution: LeptonExecution) -> dict[str, Any]:
    """Add the timeouts that release the machines of an endpoint that is no longer used."""
    scaler = dict(_compact(dict(settings)))
    not_ready = round(execution.lepton_platform.deployment.endpoint_readiness_timeout) + NOT_READY_MARGIN
    timeouts = {"no_traffic_timeout": IDLE_SECONDS, "not_ready_timeout": not_ready}
    scaler["scale_down"] = timeouts | (scaler.get("scale_down") or {})
    return scaler


def _tokens(model_server: ModelServer) -> list[dict[str, Any]]:
    config, tasks = model_server.config, model_server.settings.lepton_platform.tasks
    tokens = list(config.api_tokens or tasks.api_tokens)
    if config.api_token:
        tokens.append(LeptonToken(value=config.api_token))
    return [_token(token) for token in tokens]


def _token(token: LeptonToken) -> dict[str, Any]:
    if token.value_from is None:
        return {"value": token.value}
    return {"value_from": {"token_name_ref": token.value_from.token_name_ref or token.value_from.secret_name_ref}}


def _cache_mounts(model_server: ModelServer) -> list[dict[str, Any]]:
    mounts = model_server.config.mounts
    if not mounts.enabled:
        return []
    task_mounts = model_server.settings.lepton_platform.tasks.mounts
    source = mounts.source or (task_mounts[0].source if task_mounts else None)
    return [{"from": source or "", "path": mounts.cache_path or "/", "mount_path": mounts.mount_path or "/cache"}]


def _compact(settings: Any) -> Any:  # noqa: ANN401 - free settings of the spec
    """Remove empty values and legacy keys."""
    if not isinstance(settings, dict):
        return settings
    kept = {name: _compact(value) for name, value in settings.items() if LEGACY_KEYS.get(name, ...) != value}
    return {name: value for name, value in kept.items() if value not in (None, {}, [])}


def _merge(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """Merge nested mappings; values of `upper` win."""
    merged = dict(lower)
    for name, value in upper.items():
        current = merged.get(name)
        merged[name] = _merge(current, value) if isinstance(current, dict) and isinstance(value, dict) else value
    return merged


def _without_none(**fields: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {name: value for name, value in fields.items() if value is not None}
