"""What is a secret, who may write, and where things are."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from tests.github.conftest import MakeSetting

from nel_action.github.context import likely_secrets


@pytest.mark.parametrize(
    "name",
    ["MODEL_API_KEY", "SLURM_SSH_KEY", "GITHUB_TOKEN", "INPUT_GITHUB_TOKEN", "db_password", "AWS_SECRET_ACCESS_KEY"],
)
def test_names_that_mean_a_secret(name: str) -> None:
    assert likely_secrets({name: "s3cret"}) == ["s3cret"]


@pytest.mark.parametrize("name", ["HOME", "KEYBOARD", "TOKENIZERS_PARALLELISM", "SSH_KEY_PATH", "API_KEY_NAME", "PATH"])
def test_names_that_do_not(name: str) -> None:
    assert likely_secrets({name: "plain"}) == []


def test_whatever_the_spec_names_is_one_whatever_it_is_called() -> None:
    assert likely_secrets({"LOGIN": "s3cret", "OTHER": "plain"}, ["LOGIN", "NOT_SET"]) == ["s3cret"]


def test_an_empty_variable_hides_nothing() -> None:
    assert likely_secrets({"MODEL_API_KEY": ""}) == []


def test_a_forks_run_may_not_write_and_its_second_stage_may(make_setting: MakeSetting) -> None:
    assert make_setting().writes
    assert not make_setting(event={"fork": True}).writes
    assert make_setting(event={"fork": True, "event_run_id": 42}).writes


def test_without_a_token_nothing_is_written_or_looked_for(make_setting: MakeSetting) -> None:
    setting = replace(make_setting(), api=None)
    assert not setting.writes
    assert setting.baselines() is None
    assert setting.publisher().check_id is None


@pytest.mark.parametrize(("environment", "hosted"), [("github-hosted", True), ("self-hosted", False), ("", False)])
def test_a_hosted_runner_ends_with_its_job(make_setting: MakeSetting, environment: str, *, hosted: bool) -> None:
    assert make_setting(environ={"RUNNER_ENVIRONMENT": environment}).hosted is hosted


def test_paths_are_told_as_the_repository_knows_them(make_setting: MakeSetting, tmp_path: Path) -> None:
    setting = make_setting()
    assert setting.relative(setting.root / "evals/gate.yaml") == Path("evals/gate.yaml")
    assert setting.relative(tmp_path / "elsewhere.yaml") == Path("../elsewhere.yaml")


def test_the_redactor_knows_the_secrets_of_an_earlier_step(make_setting: MakeSetting) -> None:
    setting = make_setting(environ={"LOGIN": "s3cret-value"})
    assert setting.redactor()("s3cret-value") == "s3cret-value"
    setting.state.update(secrets=("LOGIN",))
    assert setting.redactor()("a s3cret-value b") == "a *** b"
