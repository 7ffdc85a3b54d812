"""Secrets of the workspace that are ours: made before what needs them, gone after it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from nel_action.errors import NelActionError
from nel_action.executors.lepton.client import Cloud, MissingError
from nel_action.executors.lepton.names import split_secret

__all__ = ["Vault"]


@dataclass
class Vault:
    """The workspace's secrets."""

    cloud: Cloud

    def names(self) -> list[str]:
        """Return the names of all secrets of the workspace.

        Raises:
            NelActionError: it does not tell.
        """
        answer = self.cloud.request("get", "/usersecrets", what="list secrets") or []
        return [str(item.get("name")) for item in answer if isinstance(item, dict)]

    def put(self, values: Mapping[str, str]) -> None:
        """Make secrets; where the answer is lost, making them again changes nothing.

        Raises:
            NelActionError: they could not be made.
        """
        if not values:
            return
        from leptonai.api.v2.types.secret import SecretItem

        items = [SecretItem(name=name, value=value) for name, value in values.items()]
        body = [item.model_dump(exclude_none=True) for item in items]
        self.cloud.request("post", "/usersecrets", what=f"make secrets ({', '.join(values)})", json=body)

    def remove(self, names: Collection[str]) -> None:
        """Take secrets away.

        Raises:
            NelActionError: one is still there.
        """
        for name in names:
            try:
                self.cloud.request("delete", f"/usersecrets/{name}", what=f"remove the secret {name}")
            except MissingError:
                continue

    def of(self, owner: str, variable: str | None = None) -> list[str]:
        """Return the names of an attempt's or an endpoint's secrets, the newest last.

        Raises:
            NelActionError: the workspace does not tell.
        """
        parts = [(split_secret(name), name) for name in self.names()]
        own = [(one[1], name) for one, name in parts if one and one[0] == owner and variable in {None, one[2]}]
        return [name for _, name in sorted(own)]

    def clear(self, owners: Collection[str]) -> None:
        """Take away the secrets of what has ended; what cannot be taken away now is swept later."""
        if not owners:
            return
        try:
            named = [(split_secret(name), name) for name in self.names()]
            self.remove([name for one, name in named if one and one[0] in owners])
        except NelActionError:
            # NOTE: nothing depends on it, and the next `find` of anybody takes them.
            return
