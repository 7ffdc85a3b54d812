"""The official client, its errors in our words: what did not answer is not what refused."""

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

__all__ = ["LIMIT", "connect", "speaking"]

LIMIT: Final = 30
"""Seconds that an answer may take."""

CONFLICT: Final = 409
TOO_MANY: Final = 429
SERVER_ERROR: Final = 500


def connect(settings: KubernetesExecution, environ: Mapping[str, str]) -> client.ApiClient:
    """Return a client of the cluster; nothing is asked yet.

    Raises:
        EngineError: nothing says where the cluster is.
    """
    given = settings.kubeconfig or environ.get("KUBECONFIG")
    try:
        if given is None and "KUBERNETES_SERVICE_HOST" in environ:
            inside = client.Configuration()
            config.load_incluster_config(client_configuration=inside)
            return client.ApiClient(inside)
        return config.new_client_from_config(config_file=given, context=settings.context)
    except (config.ConfigException, OSError) as error:
        msg = f"cannot tell where the cluster is: {error}"
        raise EngineError(msg, hint="set KUBECONFIG, or execution.kubeconfig and execution.context") from error


@contextmanager
def speaking() -> Iterator[None]:
    """Turn the client's errors into ours.

    Raises:
        UnreachableError: no answer, or one that says nothing about what was asked.
        EngineError: not allowed.
        ExecutorError: the cluster refuses it.
    """
    try:
        yield
    except ApiException as error:
        status = error.status or 0
        msg = f"the cluster says: {_words(error)}"
        if status in {401, 403}:
            raise EngineError(msg, hint="check the account's rights: kubectl auth can-i create jobs") from error
        if status < 400 or status == TOO_MANY or status >= SERVER_ERROR:  # noqa: PLR2004 the first error
            raise UnreachableError(msg) from error
        raise ExecutorError(msg) from error
    except (urllib3.exceptions.HTTPError, OSError) as error:
        msg = f"the cluster did not answer: {error}"
        raise UnreachableError(msg) from error


def _words(error: ApiException) -> str:
    body: Any = error.body
    with suppress(TypeError, ValueError):
        return str(json.loads(body)["message"])
    return f"{error.status} {error.reason}"
