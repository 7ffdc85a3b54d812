"""The exact bodies that the platform is sent: one for a job, one for an endpoint. Pure functions, without the SDK."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from nel_action.executors.lepton.environment import Environment
from nel_action.executors.lepton.lepton_job import BoundJob
from nel_action.executors.lepton.model_server import Serving
from nel_action.executors.lepton.names import (
    ENDPOINT_LABEL,
    INVOCATION_LABEL,
    KEEP,
    KEY_LABEL,
    NUMBER_LABEL,
    OURS,
    OWN_LABEL,
    TOKEN,
    endpoint_name,
    label_value,
)
from nel_action.model.env_ref import EnvRef
from nel_action.spec.lepton import LeptonExecution, LeptonToken

__all__ = ["DROPPED", "endpoint_body", "endpoint_environment", "job_body", "job_environment", "name_of_endpoint"]

IDLE: Final = 1800
"""Seconds without traffic after which an endpoint scales to zero, unless the spec says otherwise."""

DROPPED: Final = {"scale_from_zero": False, "enable_rdma": False}
"""Keys of older platforms, with the only value that still means anything: what is the case anyhow."""


def name_of_endpoint(serving: Serving, invocation: str) -> str:
    """Return the endpoint's name: an invocation's own, or one for all where it is kept."""
    owner = None if serving.config.keep else invocation
    return endpoint_name(serving.config.endpoint_name, [serving.identity, owner])


def job_environment(bound: BoundJob, moment: float, token_secret: str | None) -> Environment:
    """Return the variables of a job.

    Args:
        bound: the attempt.
        moment: seconds since 1970.
        token_secret: the workspace's secret with the token of the endpoint, where the job needs one.
    """
    found = Environment(bound.name, moment)
    for name in bound.settings.env_var_names:
        found.add_reference(name, EnvRef.host(name))
    for name, reference in bound.job.env.items():
        found.add_reference(name, reference)
    for name, value in bound.settings.lepton_platform.tasks.env_vars.items():
        found.add_value(name, value)
    if token_secret:
        found.add_reference(TOKEN, EnvRef.runtime(token_secret))
    return found


def job_body(bound: BoundJob, environment: Environment, *, invocation: str, group: str | None) -> dict[str, Any]:
    """Return the body of `POST /jobs`.

    Args:
        bound: the attempt.
        environment: its variables.
        invocation: its id.
        group: id of the node group, where the spec names one.

    Raises:
        UsageError: what must go along is too large or cannot be read.
    """
    tasks, platform = bound.settings.evaluation_tasks, bound.settings.lepton_platform.tasks
    labels = {
        OWN_LABEL: "job",
        KEY_LABEL: str(bound.job.key),
        NUMBER_LABEL: str(bound.number),
        INVOCATION_LABEL: invocation,
        "nel-action-task": label_value(bound.job.task.display),
    }
    if bound.serving is not None:
        labels[ENDPOINT_LABEL] = name_of_endpoint(bound.serving, invocation)
    queue = _present(
        priority_class=tasks.priority_class, can_preempt=tasks.can_preempt, can_be_preempted=tasks.can_be_preempted
    )
    spec = _present(
        resource_shape=tasks.resource_shape,
        affinity={"allowed_dedicated_node_groups": [group]} if group else None,
        container={"image": _image(bound), "command": bound.argv(environment.hidden)},
        completions=1,
        parallelism=1,
        max_failure_retry=0,
        max_job_failure_retry=tasks.retries,
        envs=environment.envs(),
        mounts=_mounts(bound),
        image_pull_secrets=list(platform.image_pull_secrets),
        shared_memory_size=tasks.shared_memory_size,
        ttl_seconds_after_finished=tasks.ttl_seconds_after_finished,
        log={"enable_collection": True, "save_termination_logs": True},
        queue_config=queue or None,
    )
    return {"metadata": {"name": bound.name, "labels": labels, "visibility": "private"}, "spec": spec}


def _image(bound: BoundJob) -> str | None:
    image, digest = bound.job.image, bound.job.image_digest
    return f"{image}@{digest}" if image and digest and "@" not in image else image


def _mounts(bound: BoundJob) -> list[dict[str, Any]]:
    mounts = bound.settings.lepton_platform.tasks.mounts
    found = [_present(path=one.path, mount_path=one.mount_path) | {"from": one.source or ""} for one in mounts]
    dataset = bound.job.dataset
    if dataset and not bound.sends_dataset:
        source = mounts[0].source if mounts else ""
        options = {"mount_options": {"read_only": True}}
        found.append({"path": dataset[0], "mount_path": dataset[1], "from": source or ""} | options)
    return found


def endpoint_environment(name: str, serving: Serving, moment: float, invocation: str) -> Environment:
    """Return the variables of an endpoint's server."""
    found = Environment(name, moment)
    found.plain |= {OURS: invocation, KEEP: "yes" if serving.config.keep else "no"}
    found.plain |= serving.command.env
    for variable, reference in serving.deployment.env_vars.items():
        found.add_reference(variable, reference)
    for variable, value in serving.config.envs.items():
        found.add_value(variable, value)
    return found


def endpoint_body(
    name: str, serving: Serving, environment: Environment, *, group: str | None, token: str
) -> dict[str, Any]:
    """Return the body of the request that creates an endpoint, in the SDK's words for both families of routes.

    Args:
        name: the endpoint's.
        serving: the deployment.
        environment: its variables.
        group: id of the node group, where the spec names one.
        token: the endpoint's own, made for it alone.
    """
    config, deployment = serving.config, serving.deployment
    least = max(config.min_replicas, 1)
    defaults = _known(serving.settings.lepton_platform.deployment.platform_defaults)
    requirement = _present(
        resource_shape=config.resource_shape,
        affinity={"allowed_dedicated_node_groups": [group]} if group else None,
        min_replicas=least,
        max_replicas=max(config.max_replicas, least),
        shared_memory_size=config.shared_memory_size,
    )
    spec = defaults | _present(
        container={
            "image": deployment.image,
            "command": list(serving.command.argv),
            "ports": [{"container_port": serving.port, "protocol": "TCP"}],
        },
        resource_requirement=requirement,
        auto_scaler=_auto_scaler(config.auto_scaler, serving.settings),
        api_tokens=[*_tokens(serving), {"value": token}],
        envs=environment.envs(),
        mounts=_cache_mounts(serving) or None,
        health=_merge(defaults.get("health") or {}, _known(config.health)) or None,
    )
    return {"metadata": {"id": name, "name": name, "visibility": "private"}, "spec": spec}


def _auto_scaler(written: Mapping[str, Any], settings: LeptonExecution) -> dict[str, Any]:
    """Add the time-outs that free the machines when nobody comes back."""
    scaler = dict(_known(dict(written)))
    patience = round(settings.lepton_platform.deployment.endpoint_readiness_timeout)
    scaler["scale_down"] = {"no_traffic_timeout": IDLE, "not_ready_timeout": patience + 600} | (
        scaler.get("scale_down") or {}
    )
    return scaler


def _tokens(serving: Serving) -> list[dict[str, Any]]:
    config, tasks = serving.config, serving.settings.lepton_platform.tasks
    written = list(config.api_tokens or tasks.api_tokens)
    if config.api_token:
        written.append(LeptonToken(value=config.api_token))
    return [_token(token) for token in written]


def _token(token: LeptonToken) -> dict[str, Any]:
    if token.value_from is None:
        return {"value": token.value}
    return {"value_from": {"token_name_ref": token.value_from.token_name_ref or token.value_from.secret_name_ref}}


def _cache_mounts(serving: Serving) -> list[dict[str, Any]]:
    mounts = serving.config.mounts
    if not mounts.enabled:
        return []
    others = serving.settings.lepton_platform.tasks.mounts
    source = mounts.source or (others[0].source if others else None)
    return [{"from": source or "", "path": mounts.cache_path or "/", "mount_path": mounts.mount_path or "/cache"}]


def _known(written: Any) -> Any:  # noqa: ANN401 - what the user wrote for the platform
    """Leave out what is empty, and the keys of older platforms that change nothing."""
    if not isinstance(written, dict):
        return written
    kept = {name: _known(value) for name, value in written.items() if DROPPED.get(name, ...) != value}
    return {name: value for name, value in kept.items() if value not in (None, {}, [])}


def _merge(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(lower)
    for name, value in upper.items():
        below = merged.get(name)
        merged[name] = _merge(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged


def _present(**fields: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {name: value for name, value in fields.items() if value is not None}
