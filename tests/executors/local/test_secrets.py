from __future__ import annotations

from pathlib import Path

import pytest

from nel_action.errors import SecretError
from nel_action.executors.local.secrets import read_host_variables, redact_file, resolve_env
from nel_action.model.env_ref import EnvRef, parse_references
from nel_action.redaction import Redactor


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
