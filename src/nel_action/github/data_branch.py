"""Files on a data branch, written by the API: no checkout, no push rights in the work tree, no lost update."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final

from nel_action.github.api import GitHubApi
from nel_action.github.errors import MissingError, RefusedError, UnavailableError

__all__ = ["DataBranch"]

TRIES: Final = 5
RACED: Final = (HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY)


class DataBranch:
    """A branch without a common past with the others; made when first written."""

    def __init__(self, api: GitHubApi, repository: str, name: str) -> None:
        self._api = api
        self._git = f"/repos/{repository}/git"
        self.name = name

    def read(self, path: str) -> str | None:
        """Return a file's text, or None where there is none."""
        head = self._head()
        return self._file(head, path) if head else None

    def update(self, path: str, change: Callable[[str | None], str], *, message: str) -> None:
        """Write a file made from what is there now; done again where somebody else was faster.

        Raises:
            GitHubError: it cannot be written.
        """
        for number in range(1, TRIES + 1):
            head = self._head()
            text = change(self._file(head, path) if head else None)
            try:
                self._commit(head, {path: text}, message)
            except (RefusedError, UnavailableError) as error:
                raced = isinstance(error, UnavailableError) or error.status in RACED
                if not raced or number == TRIES:
                    raise
                self._api.clock.sleep(float(number))
            else:
                return

    def _head(self) -> str | None:
        try:
            return str(self._api.get(f"{self._git}/ref/heads/{self.name}")["object"]["sha"])
        except MissingError:
            return None

    def _file(self, commit: str, path: str) -> str | None:
        tree = self._api.get(f"{self._git}/commits/{commit}")["tree"]["sha"]
        listed = self._api.get(f"{self._git}/trees/{tree}", recursive="1")["tree"]
        found = next((item["sha"] for item in listed if item.get("path") == path), None)
        if found is None:
            return None
        return base64.b64decode(self._api.get(f"{self._git}/blobs/{found}")["content"]).decode()

    def _commit(self, parent: str | None, files: Mapping[str, str], message: str) -> None:
        entries = [{"path": path, "mode": "100644", "type": "blob", "content": text} for path, text in files.items()]
        base = {"base_tree": self._api.get(f"{self._git}/commits/{parent}")["tree"]["sha"]} if parent else {}
        tree = self._api.post(f"{self._git}/trees", {"tree": entries} | base, repeatable=True)["sha"]
        content = {"message": message, "tree": tree, "parents": [parent] if parent else []}
        commit = self._api.post(f"{self._git}/commits", content, repeatable=True)["sha"]
        # NOTE: never forced: where the branch has moved on, GitHub refuses and `update` begins again.
        if parent:
            self._api.patch(f"{self._git}/refs/heads/{self.name}", {"sha": commit, "force": False})
        else:
            ref = {"ref": f"refs/heads/{self.name}", "sha": commit}
            self._api.post(f"{self._git}/refs", ref)
