"""The Kubernetes client, and its errors as nel-action's: a missing response is not a rejection."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final

import urllib3
from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from nel_action.errors import EngineError, ExecutorError, UnreachableError
from nel_action_kubernetes.settings import KubernetesExecution

__all__ = ["CONFLICT", "NOT_FOUND", "REQUEST_TIMEOUT", "connect", "translated_errors"]

REQUEST_TIMEOUT: Final = 30
"""Seconds to wait for a response."""

FORBIDDEN: Final = (401, 403)
NOT_FOUND: Final = 404
CONFLICT: Final = 409
TOO_MANY: Final = 429
CLIENT_ERROR: Final = 400
SERVER_ERROR: Final = 500


def connect(settings: KubernetesExecution, environ: Mapping[str, str]) -> client.ApiClient:
    """Return a client of the cluster; sends no request.

    Raises:
        EngineError: the cluster's address is not configured.
    """
    kubeconfig = settings.kubeconfig or environ.get("KUBECONFIG")
    try:
        if kubeconfig is None and "KUBERNETES_SERVICE_HOST" in environ:
            configuration = client.Configuration()
            config.load_incluster_config(client_configuration=configuration)
            return client.ApiClient(configuration)
        return config.new_client_from_config(config_file=kubeconfig, context=settings.context)
    except (config.ConfigException, OSError) as error:
        msg = f"cannot determine the address of the cluster: {error}"
        raise EngineError(msg, hint="set KUBECONFIG, or execution.kubeconfig and execution.context") from error


@contextmanager
def translated_errors() -> Iterator[None]:
    """Raise the client's errors as nel-action's.

    Raises:
        UnreachableError: no response, or one that says nothing about the request.
        EngineError: the account lacks a permission.
        ExecutorError: the cluster rejected the request.
    """
    try:
        yield
    except ApiException as error:
        status = error.status or 0
        msg = f"the cluster reports: {_message(error)}"
        if status in FORBIDDEN:
            hint = "check the account's permissions: kubectl auth can-i create jobs"
            raise EngineError(msg, hint=hint) from error
        if status < CLIENT_ERROR or status == TOO_MANY or status >= SERVER_ERROR:
            raise UnreachableError(msg) from error
        raise ExecutorError(msg) from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        msg = f"the cluster did not respond: {error}"
        raise UnreachableError(msg) from error


def _message(error: ApiException) -> str:
    body: Any = error.body
    with suppress(TypeError, ValueError):
        return str(json.loads(body)["message"])
    return f"{error.status} {error.reason}"
