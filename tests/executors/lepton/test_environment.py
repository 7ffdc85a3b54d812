"""Variables of jobs and endpoints, and the names of their secrets."""

from __future__ import annotations

import pytest

from nel_action.errors import SecretError
from nel_action.executors.lepton.environment import Environment, SecretName, reserved_name_problems
from nel_action.model.env_ref import EnvRef
from nel_action.spec.lepton import LeptonValue, LeptonValueSource

pytestmark = pytest.mark.slow

ATTEMPT = "nel-0123456789abcdef-1"


def test_secret_name_is_parsed_as_it_is_formatted() -> None:
    name = SecretName(ATTEMPT, 1_700_000_000, "API_KEY")
    assert str(name) == "nel-secret-nel-0123456789abcdef-1-6553f100-API_KEY"
    assert SecretName.parse(str(name)) == name
    assert SecretName.parse("HF_TOKEN") is None


def test_references_never_contain_values() -> None:
    environment = Environment(ATTEMPT, 1_700_000_000.9)
    environment.add_reference("KEY", EnvRef.host("MY_KEY"))
    environment.add_reference("TOKEN", EnvRef.runtime("WORKSPACE_TOKEN"))
    environment.add_reference("PLAIN", EnvRef.literal("a:b"))
    secret = str(SecretName(ATTEMPT, 1_700_000_000, "KEY"))
    assert environment.to_json() == [
        {"name": "PLAIN", "value": "a:b"},
        {"name": "KEY", "value_from": {"secret_name_ref": secret}},
        {"name": "TOKEN", "value_from": {"secret_name_ref": "WORKSPACE_TOKEN"}},
    ]
    assert environment.secret_variables == ["KEY", "TOKEN"]
    assert environment.secret_values({"MY_KEY": "s3cret", "OTHER": "x"}) == {secret: "s3cret"}


def test_secret_values_names_all_missing_variables() -> None:
    environment = Environment(ATTEMPT, 0)
    environment.add_reference("A", EnvRef.host("FIRST"))
    environment.add_reference("B", EnvRef.host("SECOND"))
    with pytest.raises(SecretError, match="variables FIRST, SECOND not set"):
        environment.secret_values({})


def test_a_later_value_replaces_an_earlier_reference() -> None:
    environment = Environment(ATTEMPT, 0)
    environment.add_reference("A", EnvRef.host("FIRST"))
    environment.add_value("A", "plain")
    assert environment.to_json() == [{"name": "A", "value": "plain"}]
    assert environment.secret_values({}) == {}
    environment.add_value("A", LeptonValue(value_from=LeptonValueSource(token_name_ref="team")))
    assert environment.to_json() == [{"name": "A", "value_from": {"secret_name_ref": "team"}}]


def test_reserved_name_problems_are_reported_once_per_variable() -> None:
    problems = reserved_name_problems(["LEPTON_JOB_NAME", "OK", "LEPTON_JOB_NAME", "LEPTON_WORKSPACE_ID"])
    assert [problem.message.split()[2] for problem in problems] == ["LEPTON_JOB_NAME", "LEPTON_WORKSPACE_ID"]
