from __future__ import annotations

import subprocess
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support.slurm.settings import slurm_settings

from nel_action.errors import SecretError, UsageError
from nel_action.executors.slurm.ssh.credentials import private_key

pytestmark = pytest.mark.slow


def make_key(path: Path, *options: str) -> str:
    subprocess.run(["ssh-keygen", "-q", "-f", str(path), *options], check=True)
    return path.read_text()


@pytest.fixture(scope="module", params=["-t ed25519", "-t ecdsa", "-t rsa", "-t rsa -m PEM"])
def key_file(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "key"
    make_key(path, "-N", "", *request.param.split())
    return path


@pytest.mark.parametrize(
    "reformat",
    [
        str,
        str.strip,
        lambda text: text.replace("\n", "\r\n"),
        lambda text: text.replace("\n", "\\n"),
        lambda text: textwrap.indent(text, "    "),
        lambda text: text.replace("\n", " "),
        lambda text: f"\n\n{text}\n\n",
    ],
    ids=["unchanged", "stripped", "crlf", "escaped", "indented", "one-line", "padded"],
)
def test_private_key_restores_reformatted_pem(key_file: Path, reformat: Callable[[str], str], tmp_path: Path) -> None:
    key = private_key(slurm_settings(None, key_name="KEY"), {"KEY": reformat(key_file.read_text())}, tmp_path)
    assert key is not None
    assert key.get_base64() == key_file.with_suffix(".pub").read_text().split()[1]


def test_private_key_reads_the_passphrase_from_its_variable(tmp_path: Path) -> None:
    text = make_key(tmp_path / "key", "-N", "open sesame", "-t", "ed25519")
    settings = slurm_settings(None, key_name="KEY", key_passphrase_name="PHRASE")
    assert private_key(settings, {"KEY": text, "PHRASE": "open sesame"}, tmp_path) is not None
    with pytest.raises(SecretError, match="passphrase is wrong"):
        private_key(settings, {"KEY": text, "PHRASE": "open barley"}, tmp_path)
    with pytest.raises(SecretError, match=r"needs a passphrase.*key_passphrase_name"):
        private_key(settings, {"KEY": text}, tmp_path)


@pytest.mark.parametrize("value", ["", "hunter2", "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END nothing-----"])
def test_private_key_rejects_other_text_without_quoting_it(value: str, tmp_path: Path) -> None:
    with pytest.raises(SecretError, match="variable KEY") as raised:
        private_key(slurm_settings(None, key_name="KEY"), {"KEY": value}, tmp_path)
    assert "hunter2" not in str(raised.value)


def test_private_key_rejects_a_damaged_key_without_quoting_it(tmp_path: Path) -> None:
    text = make_key(tmp_path / "key", "-N", "", "-t", "ed25519").replace("A", "B")
    with pytest.raises(SecretError, match="damaged") as raised:
        private_key(slurm_settings(None, key_name="KEY"), {"KEY": text}, tmp_path)
    assert text.splitlines()[2][:20] not in str(raised.value)


def test_private_key_resolves_key_file_relative_to_the_spec(tmp_path: Path) -> None:
    make_key(tmp_path / "id", "-N", "", "-t", "ed25519")
    assert private_key(slurm_settings(None, key_file="id"), {}, tmp_path) is not None
    with pytest.raises(UsageError, match="cannot read"):
        private_key(slurm_settings(None, key_file="id2"), {}, tmp_path)


def test_private_key_defaults_to_the_agent(tmp_path: Path) -> None:
    assert private_key(slurm_settings(None), {}, tmp_path) is None
