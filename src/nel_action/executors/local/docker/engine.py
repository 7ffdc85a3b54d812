"""The Docker engine of this machine: reaching it, and saying plainly what is wrong where that fails."""

from __future__ import annotations

import gc
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from nel_action.errors import EngineError

if TYPE_CHECKING:
    from docker import DockerClient

__all__ = ["connect", "engine", "plain"]

START_IT: Final = "start it (`sudo systemctl start docker`), set DOCKER_HOST, or use execution.runtime: process"
ALLOW_IT: Final = "let this user use it (`sudo usermod -aG docker $USER`, then log in again), or set DOCKER_HOST"
SHARE_FILES: Final = "results come back through folders of this machine; use its own engine, or runtime: process"

ON_THIS_MACHINE: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def connect(environ: Mapping[str, str]) -> DockerClient:
    """Return a client of the engine that DOCKER_HOST or the current context names.

    Raises:
        EngineError: there is none, it refuses us, or it cannot see our files.
    """
    client = _client(environ)
    if isinstance(client, str):
        raise _unreachable(client, environ.get("DOCKER_HOST"))
    host = urlsplit(client.api.base_url)
    if host.scheme not in {"http+docker", "http+unix", "npipe"} and host.hostname not in ON_THIS_MACHINE:
        client.close()
        msg = f"the Docker engine is on another machine ({client.api.base_url})"
        raise EngineError(msg, hint=SHARE_FILES)
    return client


def _client(environ: Mapping[str, str]) -> DockerClient | str:
    """Return the client, or why there is none."""
    import docker
    from docker.errors import DockerException

    with warnings.catch_warnings():
        # NOTE: where nothing answers, the library leaves its socket to the garbage collector
        warnings.simplefilter("ignore", ResourceWarning)
        try:
            return docker.from_env(environment=dict(environ), version="auto")
        except (DockerException, OSError) as error:
            said = plain(error)
        gc.collect()
        return said


@contextmanager
def engine(environ: Mapping[str, str]) -> Iterator[DockerClient]:
    """Connect for as long as the block takes, and tell what the engine refuses as one of our errors.

    Raises:
        EngineError: it is not there, or refused.
    """
    from docker.errors import DockerException
    from requests import RequestException

    client = connect(environ)
    try:
        yield client
    except (DockerException, RequestException) as error:
        msg = f"the Docker engine said: {plain(error)}"
        raise EngineError(msg) from error
    finally:
        client.close()


def plain(error: Exception) -> str:
    """Return the engine's own words in one line."""
    explanation = getattr(error, "explanation", None)
    return " ".join(str(explanation or error).split())


def _unreachable(text: str, host: str | None) -> EngineError:
    if "Permission denied" in text:
        return EngineError("this user may not use the Docker engine", hint=ALLOW_IT)
    if "FileNotFoundError" in text or "Connection refused" in text:
        where = f"answers at {host} (DOCKER_HOST)" if host else "runs here"
        return EngineError(f"no Docker engine {where}", hint=START_IT)
    return EngineError(f"the Docker engine does not answer: {text}", hint=START_IT)
