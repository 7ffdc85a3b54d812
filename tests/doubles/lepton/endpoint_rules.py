"""Validation of endpoints, and the settings in their specs."""

from __future__ import annotations

from leptonai.api.v2.types.deployment import LeptonDeployment
from tests.doubles.lepton.bodies import ApiError
from tests.doubles.lepton.job_rules import NAME, check_environment, check_resources
from tests.doubles.lepton.settings import Settings

__all__ = ["check_endpoint", "idle_limits", "token_values"]


def check_endpoint(settings: Settings, model: LeptonDeployment) -> str:
    """Reject an endpoint that cannot run; return its name."""
    name = (model.metadata.name or model.metadata.id_) if model.metadata else None
    if not name or not NAME.fullmatch(name):
        raise ApiError(400, "InvalidRequest", f"invalid endpoint name {name!r}")
    spec = model.spec
    if spec is None or spec.container is None or not spec.container.image or not spec.container.command:
        raise ApiError(400, "InvalidRequest", "an endpoint needs an image and a command")
    requirement = spec.resource_requirement
    groups = requirement.affinity.allowed_dedicated_node_groups if requirement and requirement.affinity else None
    check_resources(settings, requirement.resource_shape if requirement else None, groups)
    check_environment(settings, spec.envs, spec.mounts, spec.image_pull_secrets)
    token_values(settings, model)
    return str(name)


def token_values(settings: Settings, model: LeptonDeployment) -> set[str]:
    """Return the tokens that the endpoint accepts."""
    values = set()
    for token in (model.spec.api_tokens if model.spec else None) or []:
        reference = token.value_from.token_name_ref if token.value_from else None
        if reference is not None and reference not in settings.tokens:
            raise ApiError(400, "InvalidRequest", f"token {reference} not found")
        values.add(settings.tokens[reference] if reference else token.value or "")
    return values


def idle_limits(model: LeptonDeployment) -> tuple[int, int]:
    """Return the limits of seconds without traffic and of seconds without being ready; 0 means no limit."""
    scaler = model.spec.auto_scaler if model.spec else None
    down = scaler.scale_down if scaler else None
    return (down.no_traffic_timeout or 0, down.not_ready_timeout or 0) if down else (0, 0)
