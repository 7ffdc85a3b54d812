"""Logs of the containers, and the results in the log of the second one."""

from __future__ import annotations

import base64
import binascii
import hashlib
import io
import shutil
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

from kubernetes.client import CoreV1Api, V1Pod

from nel_action.errors import CollectError
from nel_action_kubernetes.cluster import REQUEST_TIMEOUT, translated_errors

__all__ = ["has_started", "read_log", "stream_log", "unpack_results"]


def has_started(pod: V1Pod | None, container: str) -> bool:
    """Whether a container has started and so has a log."""
    if pod is None or pod.status is None:
        return False
    statuses = [*(pod.status.init_container_statuses or ()), *(pod.status.container_statuses or ())]
    states = [status.state for status in statuses if status.name == container]
    return any(state and (state.running or state.terminated) for state in states)


def stream_log(api: CoreV1Api, pod: V1Pod, container: str, *, follow: bool) -> Iterator[str]:
    """Yield the lines of a container's log; with `follow`, until the container has exited.

    Args:
        api: the client.
        pod: the pod.
        container: the container's name.
        follow: wait for further lines.

    Raises:
        UnreachableError: the cluster did not respond.
    """
    name, namespace = pod.metadata.name, pod.metadata.namespace
    rest = b""
    with translated_errors():
        response = api.read_namespaced_pod_log(
            name, namespace, container=container, follow=follow, _preload_content=False
        )
        for part in response.stream():
            *complete, rest = (rest + part).split(b"\n")
            yield from (line.decode(errors="replace") for line in complete)
    if rest:
        yield rest.decode(errors="replace")


def read_log(api: CoreV1Api, pod: V1Pod, container: str) -> bytes:
    """Return a container's complete log.

    Raises:
        UnreachableError: the cluster did not respond.
    """
    name, namespace = pod.metadata.name, pod.metadata.namespace
    with translated_errors():
        response = api.read_namespaced_pod_log(
            name, namespace, container=container, _preload_content=False, _request_timeout=REQUEST_TIMEOUT
        )
        return bytes(response.read())


def unpack_results(transmitted: bytes, log: bytes, into: Path) -> None:
    """Write `artifacts/` and `logs/client.log`; they replace earlier ones when both are complete.

    Args:
        transmitted: the log of the results' container.
        log: the log of the harness's container.
        into: the directory.

    Raises:
        CollectError: the results are incomplete, or cannot be written.
    """
    archive = _verified_archive(transmitted)
    into.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(dir=into, prefix=".collect-") as directory:
            partial = Path(directory)
            (partial / "logs").mkdir()
            (partial / "logs" / "client.log").write_bytes(log)
            with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
                tar.extractall(partial / "artifacts", filter="data")
            for name in ("logs", "artifacts"):
                shutil.rmtree(into / name, ignore_errors=True)
                (partial / name).rename(into / name)
    except (OSError, tarfile.TarError) as error:
        msg = f"cannot write the results into {into}: {error}"
        raise CollectError(msg) from error


def _verified_archive(transmitted: bytes) -> bytes:
    """Decode the archive; see `manifest.PACK_SCRIPT` for the format.

    Raises:
        CollectError: it is incomplete, or does not match its digest.
    """
    header, _, rest = transmitted.partition(b"\n")
    body, end, _ = rest.rpartition(b"\nend")
    fields = header.split()
    digest = fields[1] if len(fields) > 1 else b""
    try:
        archive = base64.b64decode(b"".join(body.split()), validate=True)
    except binascii.Error:
        archive = b""
    if not end or hashlib.sha256(archive).hexdigest().encode() != digest:
        msg = f"incomplete results: {len(transmitted):,} bytes of the container's log were read"
        hint = "the cluster keeps only a part of a log (containerLogMaxSize); use a volume for larger results"
        raise CollectError(msg, hint=hint)
    return archive
