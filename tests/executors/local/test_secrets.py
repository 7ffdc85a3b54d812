from __future__ import annotations

import base64
import json
from pathlib import Path
from urllib.parse import quote

import pytest

from nel_action.errors import SecretError
from nel_action.executors.local.secrets import read_host_variables, redact_file, resolve_env
from nel_action.model.env_ref import EnvRef, parse_references
from nel_action.redaction import Redactor

SECRET = 's3cr3t/with "quotes" & ümlaut'


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        json.dumps(SECRET)[1:-1],
        quote(SECRET, safe=""),
        base64.b64encode(SECRET.encode()).decode(),
        base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("="),
    ],
)
def test_redactor_removes_every_encoding_of_a_secret(form: str) -> None:
    assert Redactor([SECRET])(f"Bearer {form}!").replace("=", "") == "Bearer ***!"


def test_redactor_removes_the_longer_of_two_secrets_completely() -> None:
    assert Redactor(["token", "token-and-more"])("token-and-more, token") == "***, ***"


@pytest.mark.parametrize("value", ["", "1", "abc", "true", "None", "12345", "EMPTY"])
def test_redactor_keeps_values_that_are_too_common_to_be_secret(value: str) -> None:
    assert Redactor([value])("true abc 12345 None EMPTY 1") == "true abc 12345 None EMPTY 1"


def test_redactor_removes_each_line_of_a_secret() -> None:
    assert Redactor(["first line\nsecond line"])("a first line, a second line") == "a ***, a ***"


def test_redact_file_keeps_all_other_bytes(tmp_path: Path) -> None:
    log = tmp_path / "client.log"
    log.write_bytes(b"\xff\x00 s3cr3t\r\nlast s3cr3t")
    redact_file(log, Redactor(["s3cr3t"]))
    assert log.read_bytes() == b"\xff\x00 ***\r\nlast ***"
    assert [path.name for path in tmp_path.iterdir()] == ["client.log"]


def test_read_host_variables_ignores_other_sources() -> None:
    assert read_host_variables([EnvRef.host("A"), EnvRef.literal("host:B"), EnvRef.runtime("C")], {"A": "a"}) == {
        "host:A": "a"
    }


def test_read_host_variables_names_all_unset_variables() -> None:
    with pytest.raises(SecretError, match="variables A, B not set"):
        read_host_variables([EnvRef.host("B"), EnvRef.host("A")], {})


def test_resolve_env_reads_each_reference_from_its_source() -> None:
    env = parse_references({"H": "host:A", "L": "lit:x=host:A", "R": "runtime:LOCAL"})
    assert resolve_env(env, {"host:A": "a"}, {"LOCAL": "h", "A": "wrong"}) == {"H": "a", "L": "x=host:A", "R": "h"}


def test_resolve_env_names_a_missing_value() -> None:
    with pytest.raises(SecretError, match=r"variable A has no value where the job runs \(host:A\)"):
        resolve_env({"H": EnvRef.host("A")}, {}, {"A": "not this one"})
