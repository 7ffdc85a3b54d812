"""What containers wrote."""

from __future__ import annotations

from collections.abc import Iterator

from kubernetes.client import CoreV1Api, V1Pod

from nel_action_kubernetes.cluster import LIMIT, speaking

__all__ = ["began", "lines", "whole"]


def began(pod: V1Pod | None, container: str) -> bool:
    """Whether a container has started, so that it has a log."""
    if pod is None or pod.status is None:
        return False
    statuses = [*(pod.status.init_container_statuses or ()), *(pod.status.container_statuses or ())]
    states = [each.state for each in statuses if each.name == container]
    return any(state and (state.running or state.terminated) for state in states)


def lines(api: CoreV1Api, pod: V1Pod, container: str, *, follow: bool) -> Iterator[str]:
    """Stream a container's log; with `follow`, until it has ended.

    Raises:
        UnreachableError: the cluster does not answer.
    """
    name, namespace = pod.metadata.name, pod.metadata.namespace
    rest = b""
    with speaking():
        answer = api.read_namespaced_pod_log(
            name, namespace, container=container, follow=follow, _preload_content=False
        )
        for part in answer.stream():
            *complete, rest = (rest + part).split(b"\n")
            yield from (line.decode(errors="replace") for line in complete)
    if rest:
        yield rest.decode(errors="replace")


def whole(api: CoreV1Api, pod: V1Pod, container: str) -> bytes:
    """Return a container's whole log, byte for byte.

    Raises:
        UnreachableError: the cluster does not answer.
    """
    name, namespace = pod.metadata.name, pod.metadata.namespace
    with speaking():
        answer = api.read_namespaced_pod_log(
            name, namespace, container=container, _preload_content=False, _request_timeout=LIMIT
        )
        return bytes(answer.read())
