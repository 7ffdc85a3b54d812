"""Validation of jobs, and the filters of a listing."""

from __future__ import annotations

import re

from leptonai.api.v2.types.deployment import EnvVar, Mount
from leptonai.api.v2.types.job import LeptonJob
from tests.doubles.lepton.bodies import ApiError
from tests.doubles.lepton.settings import Settings

__all__ = ["check_environment", "check_job", "check_resources", "matches"]

NAME = re.compile(r"[a-z]([a-z0-9-]{0,34}[a-z0-9])?")
RESERVED = re.compile(r"LEPTON_(WORKSPACE_ID|DEPLOYMENT_NAME|JOB_NAME|RESOURCE_ACCELERATOR_TYPE|WORKSPACE_ORIGIN_URL)")


def check_job(settings: Settings, job: LeptonJob) -> None:
    """Reject a job that cannot run."""
    name = job.metadata.name or job.metadata.id_
    if not name or not NAME.fullmatch(name):
        raise ApiError(400, "InvalidRequest", f"invalid job name {name!r}")
    spec = job.spec
    if not spec.container.command or not spec.container.image:
        raise ApiError(400, "InvalidRequest", "a job needs an image and a command")
    groups = spec.affinity.allowed_dedicated_node_groups if spec.affinity else None
    check_resources(settings, spec.resource_shape, groups)
    check_environment(settings, spec.envs, spec.mounts, spec.image_pull_secrets)


def check_resources(settings: Settings, shape: str | None, groups: list[str] | None) -> None:
    """Reject unknown shapes and node groups."""
    if shape not in settings.shapes:
        raise ApiError(400, "InvalidRequest", f"resource shape {shape!r} not found")
    for group in groups or []:
        if group not in settings.node_groups:
            raise ApiError(400, "InvalidRequest", f"dedicated node group {group!r} not found")


def check_environment(
    settings: Settings, envs: list[EnvVar] | None, mounts: list[Mount] | None, pull: list[str] | None
) -> None:
    """Reject reserved variables, and references to unknown secrets, volumes and registries."""
    for variable in envs or []:
        if RESERVED.fullmatch(variable.name):
            raise ApiError(400, "InvalidRequest", f"environment variable {variable.name} is reserved")
        secret = variable.value_from.secret_name_ref if variable.value_from else None
        if secret is not None and secret not in settings.secrets:
            raise ApiError(400, "InvalidRequest", f"secret {secret} not found")
    for mount in mounts or []:
        if mount.from_ not in settings.volumes:
            raise ApiError(400, "InvalidRequest", f"volume {mount.from_} not found")
    for name in pull or []:
        if settings.registries is not None and name not in settings.registries:
            raise ApiError(400, "InvalidRequest", f"image pull secret {name} not found")


def matches(job: LeptonJob, query: dict[str, list[str]], *, archived: bool) -> bool:
    """Whether a listing with these parameters includes a job."""
    assert job.status
    assert job.status.state
    mode = query.get("job_query_mode", ["alive_only"])[0]
    if mode not in {"alive_only", "archive_only", "alive_and_archive"}:
        raise ApiError(400, "InvalidRequest", f"invalid job_query_mode {mode!r}")
    groups = (job.spec.affinity.allowed_dedicated_node_groups if job.spec.affinity else None) or []
    labels = job.metadata.labels or {}
    label_filters = [pair.partition("=")[::2] for pair in ",".join(query.get("query", [])).split(",") if pair]
    return (
        mode != ("alive_only" if archived else "archive_only")
        and query.get("q", [""])[0] in (job.metadata.name or "")
        and job.status.state.value in (query.get("status") or [job.status.state.value])
        and all(labels.get(key.strip()) == value.strip("= ") for key, value in label_filters)
        and (not query.get("node_groups") or bool(set(groups) & set(query["node_groups"])))
        and query.get("created_by", [job.metadata.created_by])[0] == job.metadata.created_by
    )
