"""Everything that one call of the action works with, made once from environment and event."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from nel_action.github.api import GitHubApi
from nel_action.github.artifacts import artifact_name
from nel_action.github.base_revision import BaseFiles
from nel_action.github.baseline import BranchBaselines
from nel_action.github.check import Check
from nel_action.github.comment import CommentMode, StickyComment, token_login
from nel_action.github.event import WorkflowEvent
from nel_action.github.inputs import Inputs
from nel_action.github.outcome import StateFile
from nel_action.github.publish import Publisher
from nel_action.github.workflow import Workflow
from nel_action.redaction import Redactor

__all__ = ["ActionContext", "secret_values"]

SECRET: Final = re.compile(r"(^|_)(KEY|TOKEN|SECRET|PASSWORD|PASSWD|CREDENTIALS?|PAT)(_|$)", re.IGNORECASE)
"""Names of variables whose values are taken for secrets."""
PLACE: Final = re.compile(r"(PATH|FILE|DIR|NAME|URL)$", re.IGNORECASE)
"""Names that only say where a secret is."""


def secret_values(environ: Mapping[str, str], named: Iterable[str] = ()) -> list[str]:
    """Return the values of variables that look like secrets by their names, and of those named."""
    names = {name for name in environ if SECRET.search(name) and not PLACE.search(name)}
    return [environ[name] for name in sorted(names | set(named)) if environ.get(name)]


@lru_cache(maxsize=4)
def _redactor(values: tuple[str, ...]) -> Redactor:
    return Redactor(values)


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionContext:
    """One call."""

    environ: Mapping[str, str]
    event: WorkflowEvent
    inputs: Inputs
    workflow: Workflow
    api: GitHubApi | None
    """None without a token: then nothing is told to GitHub, and everything else goes on."""
    home: Path
    """`$NEL_ACTION_HOME`."""
    root: Path
    """The checkout."""
    state: StateFile

    @property
    def temp_dir(self) -> Path:
        """A folder of this job, gone with it."""
        return self.state.path.parent

    @property
    def can_write(self) -> bool:
        """Whether this run may write to GitHub: the token of a fork's pull request may only read."""
        return self.api is not None and not (self.event.fork and self.event.event_run_id is None)

    @property
    def artifact_name(self) -> str:
        """Name of the artifact with this gate's results."""
        return artifact_name(self.inputs.check_name)

    @property
    def github_hosted(self) -> bool:
        """Whether this machine ends with the job."""
        return self.environ.get("RUNNER_ENVIRONMENT") == "github-hosted"

    def publisher(
        self, event: WorkflowEvent | None = None, *, name: str | None = None, check_id: int | None = None
    ) -> Publisher:
        """Return the channels to a commit and its pull request; what may not be written is left out."""
        event = event or self.event
        name = name if name is not None else self.inputs.check_name
        check = comment = None
        if self.api and self.can_write and name and event.head_sha:
            check = Check(self.api, event.repository, name=name, head_sha=event.head_sha, number=check_id)
        if self.api and self.can_write and event.pull_request and self.inputs.comment is not CommentMode.OFF:
            author = token_login(self.api, event.graphql_url)
            comment = StickyComment(self.api, event.repository, event.pull_request, key=name, author=author)
        return Publisher(
            self.workflow,
            check=check,
            comment=comment,
            mode=self.inputs.comment,
            redact=self.redact,
            relative=self.repository_path,
        )

    def base_files(self) -> BaseFiles:
        """Return where files of the base can be had."""
        return BaseFiles(api=self.api, repository=self.event.repository, work=self.root)

    def branch_baselines(self, event: WorkflowEvent | None = None) -> BranchBaselines | None:
        """Return what finds a branch's newest passing run; None leaves that to this machine's own runs."""
        if self.api is None:
            return None
        event = event or self.event
        return BranchBaselines(
            self.api,
            event.repository,
            artifact=self.artifact_name,
            folder=self.temp_dir / "baselines",
            below=event.head_sha,
        )

    def redactor(self) -> Redactor:
        """Return what hides the secrets of this environment, and those that the spec names."""
        state = self.state.read()
        return _redactor(tuple(secret_values(self.environ, state.secrets if state else ())))

    def redact(self, text: str) -> str:
        """Return the text without secrets; which variables hold them is known once the spec has been read."""
        return self.redactor()(text)

    def repository_path(self, path: Path) -> Path:
        """Return a path as the repository knows it."""
        try:
            return path.resolve().relative_to(self.root.resolve())
        except ValueError:
            return Path(os.path.relpath(path, self.root))
