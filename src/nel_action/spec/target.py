"""The model or application under test."""

from __future__ import annotations

from urllib.parse import urlsplit

from pydantic import field_validator

from nel_action.model.task import EndpointType
from nel_action.spec.base import EnvironmentName, Free, SpecModel

__all__ = ["ApiEndpoint", "Target"]


class ApiEndpoint(SpecModel):
    """An OpenAI-compatible endpoint."""

    url: str | None = None
    """Full URL of the route (`https://host/v1/chat/completions`); with a deployment it is set automatically."""
    model_id: str | None = None
    """The model's name at the endpoint; with a deployment, by default its `served_model_name`."""
    api_key_name: EnvironmentName | None = None
    """Name of the variable that contains the API key; never the key itself."""
    type: EndpointType | None = None
    """Endpoint type of `url`; by default derived from its path."""
    adapter_config: Free | None = None
    """Changes of requests and answers (docs/gateway.md), by the gateway or by the adapter of a nemo container."""

    @field_validator("url")
    @classmethod
    def _has_no_password(cls, url: str | None) -> str | None:
        try:
            authority = urlsplit(url or "").netloc
        except ValueError:
            return url  # reported with the other problems of the URL
        if "@" in authority:
            msg = "a URL must not contain a user name or password; name a variable with the key in api_key_name"
            raise ValueError(msg)
        return url


class Target(SpecModel):
    """A model and its version."""

    api_endpoint: ApiEndpoint = ApiEndpoint()
    """The endpoint of the model."""
    revision: str | None = None
    """Checkpoint digest or version. It replaces the commit in the job keys, so that only a new revision is evaluated
    again."""
