from __future__ import annotations

import base64
import json
from pathlib import Path
from urllib.parse import quote

import pytest

from nel_action.errors import SecretError
from nel_action.executors.local.secrets import mask_file, masker, now, resolve
from nel_action.model.env_ref import EnvRef, parse_references

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
def test_a_secret_is_hidden_in_every_form(form: str) -> None:
    assert masker([SECRET])(f"Bearer {form}!").replace("=", "") == "Bearer ***!"


def test_the_longer_of_two_secrets_is_hidden_whole() -> None:
    assert masker(["token", "token-and-more"])("token-and-more, token") == "***, ***"


@pytest.mark.parametrize("value", ["", "1", "abc", "true", "None", "12345", "EMPTY"])
def test_what_is_nobodys_secret_stays_readable(value: str) -> None:
    assert masker([value])("true abc 12345 None EMPTY 1") == "true abc 12345 None EMPTY 1"


def test_each_line_of_a_secret_is_hidden() -> None:
    assert masker(["first line\nsecond line"])("a first line, a second line") == "a ***, a ***"


def test_a_log_is_masked_for_good_and_its_other_bytes_stay(tmp_path: Path) -> None:
    log = tmp_path / "client.log"
    log.write_bytes(b"\xff\x00 s3cr3t\r\nlast s3cr3t")
    mask_file(log, masker(["s3cr3t"]))
    assert log.read_bytes() == b"\xff\x00 ***\r\nlast ***"
    assert [path.name for path in tmp_path.iterdir()] == ["client.log"]


def test_only_what_the_caller_must_look_up_is_looked_up() -> None:
    assert now([EnvRef.host("A"), EnvRef.literal("host:B"), EnvRef.runtime("C")], {"A": "a"}) == {"host:A": "a"}


def test_all_missing_variables_are_named_at_once() -> None:
    with pytest.raises(SecretError, match="variables A, B not set"):
        now([EnvRef.host("B"), EnvRef.host("A")], {})


def test_references_are_resolved_from_where_they_say() -> None:
    env = parse_references({"H": "host:A", "L": "lit:x=host:A", "R": "runtime:HERE"})
    assert resolve(env, {"host:A": "a"}, {"HERE": "h", "A": "wrong"}) == {"H": "a", "L": "x=host:A", "R": "h"}


def test_a_value_that_is_gone_is_an_error_that_names_it() -> None:
    with pytest.raises(SecretError, match=r"variable A has no value where the job runs \(host:A\)"):
        resolve({"H": EnvRef.host("A")}, {}, {"A": "not this one"})
