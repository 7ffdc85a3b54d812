"""The model under test."""

from __future__ import annotations

from nel_action.model.task import EndpointType
from nel_action.spec.base import EnvironmentName, Free, SpecModel

__all__ = ["ApiEndpoint", "Target"]


class ApiEndpoint(SpecModel):
    """An OpenAI-compatible endpoint."""

    url: str | None = None
    """The full URL of the route (`https://host/v1/chat/completions`); filled in where a deployment serves the model."""
    model_id: str | None = None
    """The model's name as the endpoint knows it; with a deployment, its `served_model_name`."""
    api_key_name: EnvironmentName | None = None
    """Name of the variable that holds the key; never the key."""
    type: EndpointType | None = None
    """Which route `url` is; told from its path where not given."""
    adapter_config: Free | None = None
    """Passed on whole to the nemo-evaluator adapter."""


class Target(SpecModel):
    """One model and what pins it."""

    api_endpoint: ApiEndpoint = ApiEndpoint()
    """Where it answers."""
    revision: str | None = None
    """A checkpoint digest or version. Where given, it stands in the job's key in place of the commit, so that
    only a new revision is evaluated again."""
