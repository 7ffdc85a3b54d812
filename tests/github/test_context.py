"""What is a secret, who may write, and where things are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.github.conftest import MakeContext

from nel_action.github.context import secret_values


@pytest.mark.parametrize(
    "name",
    ["MODEL_API_KEY", "SLURM_SSH_KEY", "GITHUB_TOKEN", "INPUT_GITHUB_TOKEN", "db_password", "AWS_SECRET_ACCESS_KEY"],
)
def test_names_that_mean_a_secret(name: str) -> None:
    assert secret_values({name: "s3cret"}) == ["s3cret"]


@pytest.mark.parametrize("name", ["HOME", "KEYBOARD", "TOKENIZERS_PARALLELISM", "SSH_KEY_PATH", "API_KEY_NAME", "PATH"])
def test_names_that_do_not(name: str) -> None:
    assert secret_values({name: "plain"}) == []


def test_whatever_the_spec_names_is_one_whatever_it_is_called() -> None:
    assert secret_values({"LOGIN": "s3cret", "OTHER": "plain"}, ["LOGIN", "NOT_SET"]) == ["s3cret"]


def test_an_empty_variable_hides_nothing() -> None:
    assert secret_values({"MODEL_API_KEY": ""}) == []


def test_a_forks_run_may_not_write_and_its_second_stage_may(make_context: MakeContext) -> None:
    assert make_context().can_write
    assert not make_context(event={"fork": True}).can_write
    assert make_context(event={"fork": True, "event_run_id": 42}).can_write


def test_without_a_token_nothing_is_written_or_looked_for(make_context: MakeContext) -> None:
    context = replace(make_context(), api=None)
    assert not context.can_write
    assert context.branch_baselines() is None
    assert context.publisher().check_id is None


@pytest.mark.parametrize(("environment", "hosted"), [("github-hosted", True), ("self-hosted", False), ("", False)])
def test_a_hosted_runner_ends_with_its_job(make_context: MakeContext, environment: str, *, hosted: bool) -> None:
    assert make_context(environ={"RUNNER_ENVIRONMENT": environment}).github_hosted is hosted


def test_paths_are_told_as_the_repository_knows_them(make_context: MakeContext, tmp_path: Path) -> None:
    context = make_context()
    assert context.repository_path(context.root / "evals/gate.yaml") == Path("evals/gate.yaml")
    assert context.repository_path(tmp_path / "elsewhere.yaml") == Path("../elsewhere.yaml")


def test_the_redactor_knows_the_secrets_of_an_earlier_step(make_context: MakeContext) -> None:
    context = make_context(environ={"LOGIN": "s3cret-value"})
    assert context.redactor()("s3cret-value") == "s3cret-value"
    context.state.update(secrets=("LOGIN",))
    assert context.redactor()("a s3cret-value b") == "a *** b"
