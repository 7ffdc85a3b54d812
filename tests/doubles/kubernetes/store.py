"""The objects of a cluster by kind and name, with ids, versions and owners."""

from __future__ import annotations

import itertools
import uuid
from datetime import UTC, datetime
from typing import Any

from tests.doubles.kubernetes.bodies import MODELS, ApiError, parse, validated
from tests.doubles.lepton.bodies import merge

__all__ = ["Store", "matches_selector", "timestamp"]


def timestamp() -> str:
    """Return the current time in the format of Kubernetes."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def matches_selector(resource: dict[str, Any], selector: str) -> bool:
    """Whether an object's labels match an equality-based selector."""
    labels = resource["metadata"].get("labels") or {}
    pairs = [pair.partition("=")[::2] for pair in selector.split(",") if pair]
    return all(labels.get(name) == value for name, value in pairs)


class Store:
    """The objects of one namespace; the client's models validate every response."""

    def __init__(self) -> None:
        self.objects: dict[str, dict[str, dict[str, Any]]] = {kind: {} for kind in MODELS}
        self._versions = itertools.count(1)

    def create(self, kind: str, body: dict[str, Any], *, keep: bool = True) -> dict[str, Any]:
        """Create an object; names are unique."""
        resource = parse(kind, body)
        name = resource["metadata"]["name"]
        if name in self.objects[kind]:
            raise ApiError(409, "AlreadyExists", f'{kind} "{name}" already exists')
        resource["metadata"] |= {"uid": str(uuid.uuid4()), "creationTimestamp": timestamp(), "namespace": "evals"}
        if keep:
            self.objects[kind][name] = resource
            self.touch(resource)
        return resource

    def touch(self, resource: dict[str, Any]) -> None:
        """Assign a new version to an object."""
        resource["metadata"]["resourceVersion"] = str(next(self._versions))

    def get(self, kind: str, name: str) -> dict[str, Any]:
        if name not in self.objects[kind]:
            raise ApiError(404, "NotFound", f'{kind} "{name}" not found')
        return self.objects[kind][name]

    def listing(self, kind: str, selector: str) -> dict[str, Any]:
        """Return a list in the format of the API."""
        resources = self.objects[kind].values()
        items = [validated(MODELS[kind], each) for each in resources if matches_selector(each, selector)]
        return {"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "1"}, "items": items}

    def patch(self, kind: str, name: str, body: dict[str, Any]) -> dict[str, Any]:
        """Apply a merge patch."""
        resource = self.get(kind, name)
        merged = validated(MODELS[kind], merge(resource, body))
        resource.clear()
        resource.update(merged)
        self.touch(resource)
        return resource

    def delete(self, kind: str, name: str) -> list[tuple[str, str]]:
        """Delete an object and the objects that it owns; return kind and name of each."""
        resource = self.get(kind, name)
        uid = resource["metadata"]["uid"]
        del self.objects[kind][name]
        owned = [
            (other, each["metadata"]["name"])
            for other, resources in self.objects.items()
            for each in resources.values()
            if any(owner["uid"] == uid for owner in each["metadata"].get("ownerReferences") or [])
        ]
        return [(kind, name), *(deleted for other, each in owned for deleted in self.delete(other, each))]
