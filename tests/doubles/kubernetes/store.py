"""What a cluster remembers: objects by kind and name, with ids, versions and owners."""

from __future__ import annotations

import itertools
import uuid
from datetime import UTC, datetime
from typing import Any

from tests.doubles.kubernetes.bodies import MODELS, Refused, known, read
from tests.doubles.lepton.bodies import merge

__all__ = ["Store", "moment", "selected"]


def moment() -> str:
    """Now, as Kubernetes writes it."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def selected(thing: dict[str, Any], selector: str) -> bool:
    """Whether an object's labels are as a selector of equalities says."""
    labels = thing["metadata"].get("labels") or {}
    pairs = [pair.partition("=")[::2] for pair in selector.split(",") if pair]
    return all(labels.get(name) == value for name, value in pairs)


class Store:
    """One namespace's objects; each answer is held against the client's models."""

    def __init__(self) -> None:
        self.things: dict[str, dict[str, dict[str, Any]]] = {kind: {} for kind in MODELS}
        self._versions = itertools.count(1)

    def create(self, kind: str, body: dict[str, Any], *, keep: bool = True) -> dict[str, Any]:
        """Enter an object; a name is taken once."""
        thing = read(kind, body)
        name = thing["metadata"]["name"]
        if name in self.things[kind]:
            raise Refused(409, "AlreadyExists", f'{kind} "{name}" already exists')
        thing["metadata"] |= {"uid": str(uuid.uuid4()), "creationTimestamp": moment(), "namespace": "evals"}
        if keep:
            self.things[kind][name] = thing
            self.touch(thing)
        return thing

    def touch(self, thing: dict[str, Any]) -> None:
        """Give an object a new version."""
        thing["metadata"]["resourceVersion"] = str(next(self._versions))

    def get(self, kind: str, name: str) -> dict[str, Any]:
        if name not in self.things[kind]:
            raise Refused(404, "NotFound", f'{kind} "{name}" not found')
        return self.things[kind][name]

    def listing(self, kind: str, selector: str) -> dict[str, Any]:
        """Return a list as the API does."""
        found = [known(MODELS[kind], thing) for thing in self.things[kind].values() if selected(thing, selector)]
        return {"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": "1"}, "items": found}

    def patch(self, kind: str, name: str, body: dict[str, Any]) -> dict[str, Any]:
        """Merge a change in."""
        thing = self.get(kind, name)
        merged = known(MODELS[kind], merge(thing, body))
        thing.clear()
        thing.update(merged)
        self.touch(thing)
        return thing

    def delete(self, kind: str, name: str) -> list[tuple[str, str]]:
        """Remove an object and what it owns; return all that went."""
        thing = self.get(kind, name)
        uid = thing["metadata"]["uid"]
        del self.things[kind][name]
        owned = [
            (other, each["metadata"]["name"])
            for other, things in self.things.items()
            for each in things.values()
            if any(owner["uid"] == uid for owner in each["metadata"].get("ownerReferences") or [])
        ]
        return [(kind, name), *(gone for other, each in owned for gone in self.delete(other, each))]
