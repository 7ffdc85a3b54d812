"""The context of an action call: secrets, write access, paths."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.doubles.github.server import GitHubDouble
from tests.github.conftest import MakeContext

from nel_action.errors import NelActionError
from nel_action.github.context import shorten_paths
from nel_action.redaction import likely_secrets


@pytest.mark.parametrize(
    "name",
    ["MODEL_API_KEY", "SLURM_SSH_KEY", "GITHUB_TOKEN", "INPUT_GITHUB_TOKEN", "db_password", "AWS_SECRET_ACCESS_KEY"],
)
def test_likely_secrets_includes_variables_named_like_secrets(name: str) -> None:
    assert likely_secrets({name: "s3cret"}) == ["s3cret"]


@pytest.mark.parametrize("name", ["HOME", "KEYBOARD", "TOKENIZERS_PARALLELISM", "SSH_KEY_PATH", "API_KEY_NAME", "PATH"])
def test_likely_secrets_excludes_other_variables(name: str) -> None:
    assert likely_secrets({name: "plain"}) == []


def test_likely_secrets_includes_named_variables() -> None:
    assert likely_secrets({"LOGIN": "s3cret", "OTHER": "plain"}, ["LOGIN", "NOT_SET"]) == ["s3cret"]


def test_likely_secrets_excludes_empty_values() -> None:
    assert likely_secrets({"MODEL_API_KEY": ""}) == []


def test_can_write_excludes_forks_except_in_second_stage(make_context: MakeContext) -> None:
    assert make_context().can_write
    assert not make_context(event={"fork": True}).can_write
    assert make_context(event={"fork": True, "event_run_id": 42}).can_write


def test_context_without_token_writes_and_reads_nothing(make_context: MakeContext) -> None:
    context = replace(make_context(), api=None)
    assert not context.can_write
    assert context.branch_baselines() is None
    assert context.publisher().check_id is None


@pytest.mark.parametrize(("environment", "hosted"), [("github-hosted", True), ("self-hosted", False), ("", False)])
def test_github_hosted_by_runner_environment(make_context: MakeContext, environment: str, *, hosted: bool) -> None:
    assert make_context(environ={"RUNNER_ENVIRONMENT": environment}).github_hosted is hosted


def test_repository_path_is_relative_to_root(make_context: MakeContext, tmp_path: Path) -> None:
    context = make_context()
    assert context.repository_path(context.root / "evals/gate.yaml") == Path("evals/gate.yaml")
    assert context.repository_path(tmp_path / "elsewhere.yaml") == Path("../elsewhere.yaml")


def test_redactor_includes_secrets_recorded_by_earlier_step(make_context: MakeContext) -> None:
    context = make_context(environ={"LOGIN": "s3cret-value"})
    assert context.redactor()("s3cret-value") == "s3cret-value"
    context.state.update(secrets=("LOGIN",))
    assert context.redactor()("a s3cret-value b") == "a *** b"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("no folder /w/repo/evals/data in /w/repo/evals", "no folder evals/data in evals"),
        ("cannot read /w/repo: denied", "cannot read .: denied"),
        ("/w/repository and /w/repo-2 and x/w/repos", "/w/repository and /w/repo-2 and x/w/repos"),
        ("missing: /t/temp/nel-action/base/" + "a" * 40 + "/evals/b.json;", "missing: evals/b.json;"),
        ("/t/temp/nel-action/state.json, /t/temp.", "$RUNNER_TEMP/nel-action/state.json, $RUNNER_TEMP."),
        ("attempt in '/h/me/.nel/local/nel-1'", "attempt in '$NEL_ACTION_HOME/local/nel-1'"),
        ("see /h/me/.ssh/config", "see ~/.ssh/config"),
        ("https://host/w/repo/x and /", "https://host/w/repo/x and /"),
        ("/w/x", "/w/x"),
    ],
)
def test_directories_of_the_runner_are_not_published(text: str, expected: str) -> None:
    directories = (
        (Path("/w/repo"), "."),
        (Path("/t/temp"), "$RUNNER_TEMP"),
        (Path("/h/me/.nel"), "$NEL_ACTION_HOME"),
        (Path("/h/me"), "~"),
        (Path("/w"), "~"),
        (Path("relative/path"), "~"),
    )
    assert shorten_paths(text, directories) == expected


def test_comment_check_and_outputs_name_no_directory_of_the_runner(
    make_context: MakeContext, hub: GitHubDouble
) -> None:
    context = make_context()
    paths = [context.root / "evals/gate.yaml", context.temp_dir / "x", context.home / "local/nel-1/log"]
    hub.store.add_pull(2, head="a" * 40, base="b" * 40)
    publisher = context.publisher()
    publisher.open(external_id="x:1", url="https://example.org", summary="started")
    publisher.report_error(NelActionError(", ".join(map(str, paths)), hint=f"see {paths[2]}"))
    published = json.dumps([hub.store.checks, hub.store.comments])
    assert "evals/gate.yaml" in published
    assert "NEL" in published
    for directory in (context.root, context.temp_dir, context.home):
        assert str(directory) not in published
