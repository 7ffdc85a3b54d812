"""Fixtures for the tests of `nel_action.github`."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.doubles.github.clock import Sleeper
from tests.doubles.github.server import GitHubDouble, github

from nel_action.github.api import GitHubApi
from nel_action.github.context import ActionContext
from nel_action.github.event import EventKind, WorkflowEvent
from nel_action.github.inputs import read_inputs
from nel_action.github.outcome import StateFile
from nel_action.github.workflow import Workflow

HEAD, BASE = "a" * 40, "b" * 40
MakeContext = Callable[..., ActionContext]


@pytest.fixture
def hub() -> Iterator[GitHubDouble]:
    with github() as double:
        yield double


@pytest.fixture
def sleeper() -> Sleeper:
    return Sleeper()


@pytest.fixture
def api(hub: GitHubDouble, sleeper: Sleeper) -> Iterator[GitHubApi]:
    client = GitHubApi(hub.url, hub.token, clock=sleeper.clock)
    yield client
    client.close()


@pytest.fixture
def log() -> io.StringIO:
    """Standard output of the steps."""
    return io.StringIO()


@pytest.fixture
def make_context(hub: GitHubDouble, api: GitHubApi, log: io.StringIO, tmp_path: Path) -> MakeContext:
    """Return a factory of contexts for a pull request; keywords are inputs, `event` overrides fields of the event."""
    work = tmp_path / "work"
    work.mkdir()

    def make(
        *, event: dict[str, Any] | None = None, environ: dict[str, str] | None = None, **inputs: str
    ) -> ActionContext:
        variables = {
            "GITHUB_ACTIONS": "true",
            "RUNNER_TEMP": str(tmp_path / "temp"),
            "GITHUB_OUTPUT": str(tmp_path / "outputs"),
            "GITHUB_STEP_SUMMARY": str(tmp_path / "summary"),
            **{f"INPUT_{name.upper()}": value for name, value in inputs.items()},
            **(environ or {}),
        }
        workflow_event = WorkflowEvent(
            kind=EventKind.PULL_REQUEST,
            repository=hub.store.repository,
            head_sha=HEAD,
            base_ref="main",
            base_sha=BASE,
            pull_request=2,
            payload={},
            api_url=hub.url,
            graphql_url=f"{hub.url}/graphql",
        )
        workflow_event = replace(workflow_event, **(event or {}))
        if workflow_event.base_ref == hub.store.default_branch and workflow_event.base_sha:
            hub.store.default_tip = workflow_event.base_sha
        parsed = read_inputs(variables, spec_needed=False)
        return ActionContext(
            environ=variables,
            event=workflow_event,
            inputs=parsed,
            workflow=Workflow(variables, log),
            api=api,
            home=tmp_path / "home",
            root=work,
            state=StateFile(variables, parsed.check_name or "off"),
        )

    return make
