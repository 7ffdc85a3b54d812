"""State of the GitHub double: one repository with its comments, checks, issues, commits and artifacts."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from tests.doubles.github.description import complete

__all__ = ["ACTIONS_BOT", "ALL_RIGHTS", "Identity", "Store"]

ALL_RIGHTS = dict.fromkeys(("actions", "checks", "contents", "issues", "pull-requests"), "write")


@dataclass(frozen=True, slots=True)
class Identity:
    """Owner and permissions of a token."""

    login: str = "github-actions[bot]"
    type: str = "Bot"
    rights: dict[str, str] = field(default_factory=lambda: dict(ALL_RIGHTS))

    def may(self, permission: str, level: str) -> bool:
        granted = "read" if permission == "metadata" else self.rights.get(permission)
        return granted == "write" or granted == level == "read"

    def user(self) -> dict[str, Any]:
        number = int(hashlib.sha256(self.login.encode()).hexdigest()[:6], 16)
        return complete("simple-user", {"login": self.login, "type": self.type, "id": number})


ACTIONS_BOT = Identity()


class Store:
    """State of `owner/name`; objects have the form of GitHub's answers."""

    def __init__(self, repository: str) -> None:
        self.repository = repository
        self.default_branch = "main"
        self.comments: dict[int, dict[str, Any]] = {}
        self.comment_issue: dict[int, int] = {}
        self.comment_edits: list[tuple[int, str]] = []
        self.checks: dict[int, dict[str, Any]] = {}
        self.check_history: dict[int, list[dict[str, Any]]] = {}
        self.annotations: dict[int, list[dict[str, Any]]] = {}
        self.issues: dict[int, dict[str, Any]] = {}
        self.pulls: dict[int, dict[str, Any]] = {}
        self.commits: list[str] = []
        self.refs: dict[str, str] = {}
        self.default_tip = "0" * 40
        """Commit of the default branch where neither a ref nor a run states it."""
        self.objects: dict[str, Any] = {}
        self.truncated = False
        """Whether listings of trees are incomplete, as those of very large trees are."""
        self.artifacts: dict[int, dict[str, Any]] = {}
        self.archives: dict[int, bytes] = {}
        self.runs: dict[int, dict[str, Any]] = {}
        self.roles: dict[str, str] = {}
        """Login in lower case → admin, maintain, write, triage, read or none."""
        self.pushes: list[dict[str, Any]] = []
        self._ids = itertools.count(1001)

    def next_id(self) -> int:
        return next(self._ids)

    def add_comment(self, issue: int, body: str, identity: Identity) -> dict[str, Any]:
        number = self.next_id()
        self.comments[number] = complete("issue-comment", {"id": number, "body": body, "user": identity.user()})
        self.comment_issue[number] = issue
        return self.comments[number]

    def comments_of(self, issue: int) -> list[dict[str, Any]]:
        """Return the comments ascending by id, the only order of GitHub's API."""
        return [comment for number, comment in sorted(self.comments.items()) if self.comment_issue[number] == issue]

    def add_pull(
        self, number: int, *, head: str, base: str, head_repository: str | None = None, state: str = "open"
    ) -> dict[str, Any]:
        def side(sha: str, ref: str, full_name: str) -> dict[str, Any]:
            owner, name = full_name.split("/")
            repo = complete(
                "repository", {"full_name": full_name, "name": name, "owner": Identity(owner, "User").user()}
            )
            return {"label": f"{owner}:{ref}", "ref": ref, "sha": sha, "repo": repo, "user": repo["owner"]}

        head_name = head_repository or self.repository
        sides = {"head": side(head, "change", head_name), "base": side(base, "main", self.repository)}
        self.pulls[number] = {"number": number, "state": state} | sides
        return self.pulls[number]

    def add_push(self, sha: str, when: str, *, branch: str = "change") -> None:
        """Record a push to a branch, as the server shows it; commits themselves may state any date."""
        known = {"id": self.next_id(), "before": "0" * 40, "after": sha, "ref": f"refs/heads/{branch}"}
        self.pushes.append(complete("activity", known | {"timestamp": when, "activity_type": "push"}))

    def show_pull(self, pull: dict[str, Any], schema: str) -> dict[str, Any]:
        return complete(schema, pull)

    def add_artifact(self, run: int, name: str, archive: bytes, *, expired: bool = False) -> int:
        number = self.next_id()
        facts = {"id": number, "name": name, "size_in_bytes": len(archive), "expired": expired}
        shown = complete("artifact", facts)
        shown["workflow_run"] = {"id": run}
        self.artifacts[number], self.archives[number] = shown, archive
        return number

    def put_object(self, kind: str, content: object) -> str:
        sha = hashlib.sha1(json.dumps([kind, content], sort_keys=True).encode(), usedforsecurity=False).hexdigest()
        self.objects[sha] = content
        return sha

    def read_branch(self, branch: str) -> dict[str, str]:
        """Return the files of a branch."""
        commit = self.objects[self.refs[f"heads/{branch}"]]
        return {item["path"]: self.objects[item["sha"]] for item in self.objects[commit["tree"]]}

    def ref(self, name: str) -> str | None:
        """Return the commit of a ref.

        Of the base of a pull request its commit there, and of the default branch the newest known commit, unless it is
        set.
        """
        if name in self.refs:
            return self.refs[name]
        bases = {f"heads/{pull['base']['ref']}": str(pull["base"]["sha"]) for pull in self.pulls.values()}
        if name in bases or name != f"heads/{self.default_branch}":
            return bases.get(name)
        return next(iter(self.commits_from(None)), self.default_tip)

    def commits_from(self, start: str | None) -> list[str]:
        """Return the commits of the default branch, newest first; by default those of which it has results."""
        runs = [artifact["workflow_run"] for _, artifact in sorted(self.artifacts.items(), reverse=True)]
        pushed = [run["head_sha"] for run in runs if run.get("head_branch") == self.default_branch]
        commits = self.commits or list(dict.fromkeys(pushed))
        return commits[commits.index(start) :] if start in commits else commits

    def open_issues(self) -> list[dict[str, Any]]:
        return [issue for issue in self.issues.values() if issue["state"] == "open"]

    def checks_of(self, sha: str) -> list[dict[str, Any]]:
        return [check for _, check in sorted(self.checks.items()) if check["head_sha"] == sha]


def newest_of_each(checks: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the newest check run of each name, for `filter=latest`."""
    return list({check["name"]: check for check in checks}.values())
