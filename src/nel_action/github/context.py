"""Everything that one call of the action works with, created once from environment and event."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Final

from nel_action.github.api import GitHubApi
from nel_action.github.artifacts import artifact_name, former_artifact_name
from nel_action.github.base_revision import BaseFiles
from nel_action.github.baseline import BranchBaselines
from nel_action.github.check import Check, gate_identity
from nel_action.github.checkout import Inside, Placement, place
from nel_action.github.commands import Command
from nel_action.github.event import WorkflowEvent
from nel_action.github.inputs import Inputs
from nel_action.github.outcome import StateFile
from nel_action.github.publish import Publisher
from nel_action.github.sticky import CommentMode, StickyComment, token_login
from nel_action.github.workflow import Workflow
from nel_action.redaction import Redactor, likely_secrets

__all__ = ["ActionContext", "shorten_paths"]

_BASE_COPY: Final = re.compile(r"\$RUNNER_TEMP/(?:nel-action/)?base/[0-9a-f]{40,64}/")
"""The copy of a base's files, whose paths are those of the repository."""
_MIN_PARTS: Final = 3
"""Components of a directory that is replaced; `/` and `/tmp` say nothing about a runner."""


def shorten_paths(text: str, directories: Iterable[tuple[Path, str]]) -> str:
    """Replace directories of a runner in a text; paths of the checkout become relative to its top level.

    Args:
        text: the text.
        directories: each directory, and what replaces it.
    """
    spelled = {
        spelling: name
        for directory, name in directories
        for spelling in (str(directory), os.path.realpath(directory))
        if directory.is_absolute() and len(Path(spelling).parts) >= _MIN_PARTS
    }
    # NOTE: the longest first, since one may contain another.
    for directory in sorted(spelled, key=len, reverse=True):
        name, written = spelled[directory], rf"(?<![\w.-]){re.escape(directory)}"
        if name == ".":
            text = re.sub(f"{written}/+", "", text)
        text = re.sub(rf"{written}(?![\w-]|\.\w)", name, text)
    return _BASE_COPY.sub("", text)


@lru_cache(maxsize=4)
def _redactor(values: tuple[str, ...]) -> Redactor:
    return Redactor(values)


@dataclass(frozen=True, slots=True, kw_only=True)
class ActionContext:
    """One call of the action."""

    environ: Mapping[str, str]
    event: WorkflowEvent
    inputs: Inputs
    workflow: Workflow
    api: GitHubApi | None
    """None without a token: nothing is published to GitHub then, but everything else works."""
    home: Path
    """`$NEL_ACTION_HOME`."""
    root: Path
    """Top level of the checkout."""
    state: StateFile
    command: Command | None = None
    """The command in a comment that asks for scores without a verdict; None for every run of a gate."""
    answer_key: str = ""
    """Identifies the answer to the command."""

    @property
    def temp_dir(self) -> Path:
        """Temporary folder of this job."""
        return self.state.path.parent

    @property
    def can_write(self) -> bool:
        """Whether the token may write to GitHub; the one of a fork's pull request may not."""
        return self.api is not None and not (self.event.fork and self.event.event_run_id is None)

    @property
    def readable_api(self) -> GitHubApi | None:
        """The client, where this run can publish a result; None for a fork's run, which writes nothing."""
        return self.api if self.can_write else None

    @property
    def commits(self) -> tuple[str, ...]:
        """Commits that a checkout of this event has as HEAD: the merge commit, or the head."""
        own = None if self.event.checks_out_another_commit else self.environ.get("GITHUB_SHA")
        return tuple(sha for sha in (own, self.event.head_sha) if sha)

    @property
    def job_environ(self) -> dict[str, str]:
        """The variables that a spec may name: without inputs and credentials of the step itself.

        A change could otherwise send the action's token, which may write checks, to an endpoint or to another machine.
        """
        return {name: value for name, value in self.environ.items() if not name.startswith(("INPUT_", "ACTIONS_"))}

    @property
    def workdir(self) -> Path | None:
        """The working directory as the workflow names it; None if it is not known."""
        name = self.environ.get("INPUT_WORKING_DIRECTORY")
        return Path(self.environ.get("GITHUB_WORKSPACE") or Path.cwd()) / name if name else None

    @property
    def artifact_name(self) -> str:
        """Name of the artifact with the gate's results."""
        # NOTE: scores without a verdict must not be found as a baseline.
        return f"nel-action-{self.answer_key}" if self.command else artifact_name(self.inputs.check_name)

    @property
    def github_hosted(self) -> bool:
        """Whether this machine is shut down after the job."""
        return self.environ.get("RUNNER_ENVIRONMENT") == "github-hosted"

    @property
    def identity(self) -> str:
        """Identity of the gate that the inputs describe."""
        inputs = self.inputs
        name = inputs.config_name or ""
        name = name if name.endswith((".yaml", ".yml")) else f"{name}.yaml"
        path = self.repository_path(inputs.spec or (inputs.config_dir or Path()) / name)
        settings = (*inputs.overrides, str(inputs.gate), inputs.baseline or "")
        return gate_identity(path.as_posix(), self.event.base_ref, settings)

    def publisher(
        self,
        event: WorkflowEvent | None = None,
        *,
        name: str | None = None,
        check_id: int | None = None,
        identity: str | None = None,
    ) -> Publisher:
        """Return a publisher for a commit and its pull request, without the channels that the token may not write.

        Args:
            event: commit and pull request; by default those of the event that started the workflow.
            name: of the check; by default the input `check-name`.
            check_id: number of an existing check run.
            identity: of the gate; by default that of the inputs.
        """
        event = event or self.event
        name = name if name is not None else self.inputs.check_name
        check = comment = None
        if self.api and self.can_write and name and event.head_sha:
            check = Check(
                self.api,
                event.repository,
                name=name,
                head_sha=event.head_sha,
                number=check_id,
                identity=self.identity if identity is None else identity,
            )
        mode = CommentMode.ALWAYS if self.command else self.inputs.comment
        if self.api and self.can_write and event.pull_request and mode is not CommentMode.OFF:
            key = self.answer_key or name
            author = token_login(self.api, event.graphql_url)
            comment = StickyComment(
                self.api, event.repository, event.pull_request, key=key, author=author, commit=event.head_sha
            )
        return Publisher(
            self.workflow,
            check=check,
            comment=comment,
            mode=mode,
            redact=self.redact,
            relative=self.repository_path,
            title=str(self.command) if self.command else name,
        )

    def base_files(self) -> BaseFiles:
        """Return the sources of files at the base commit."""
        return BaseFiles(api=self.api, repository=self.event.repository, work=self.root)

    def branch_baselines(self, event: WorkflowEvent | None = None) -> BranchBaselines | None:
        """Return a resolver of branches to results; None without a token, where runs of this machine are used."""
        if self.api is None:
            return None
        event = event or self.event
        return BranchBaselines(
            self.api,
            event.repository,
            artifact=self.artifact_name,
            former_names=(former_artifact_name(self.inputs.check_name),),
            folder=self.temp_dir / "baselines",
            exclude_commit=event.head_sha,
        )

    def redactor(self) -> Redactor:
        """Return a redactor of the secrets in the environment, including those that the spec names."""
        state = self.state.read()
        return _redactor(tuple(likely_secrets(self.environ, state.secrets if state else ())))

    def redact(self, text: str) -> str:
        """Return the text without secrets and without directories of this runner.

        The names of secrets are read anew, since the spec is loaded later than this object.
        """
        return shorten_paths(self.redactor()(text), self._directories)

    @property
    def _directories(self) -> tuple[tuple[Path, str], ...]:
        """Directories of this runner, and what replaces them in texts; the first one that matches counts."""
        environ = self.environ
        names = {
            self.root: ".",
            self.temp_dir: "$RUNNER_TEMP",
            self.home: "$NEL_ACTION_HOME",
            Path(sys.prefix): "$PYTHON",
        }
        for variable, name in (("GITHUB_WORKSPACE", "."), ("RUNNER_TEMP", "$RUNNER_TEMP"), ("HOME", "~")):
            if environ.get(variable):
                names.setdefault(Path(environ[variable]), name)
        return tuple(names.items())

    def place(self, path: Path) -> Placement:
        """Return where a path is in the repository, followed by name and never through a link."""
        return place(path, self.root, workdir=self.workdir)

    def repository_path(self, path: Path) -> Path:
        """Return a path relative to the repository's root, for people."""
        placement = self.place(path)
        if isinstance(placement, Inside):
            return Path(placement.path)
        return Path(os.path.relpath(path, self.root))
