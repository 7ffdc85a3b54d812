"""Connections to a real SSH server through configurations of OpenSSH."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.slurm.settings import open_remote, slurm_settings
from tests.support.slurm.sshd import Sshd, keygen

from nel_action.errors import EngineError, UnreachableError
from nel_action.executors.slurm.remote import RemoteShell

pytestmark = pytest.mark.slurm

Open = Callable[..., RemoteShell]


@pytest.fixture
def connect(sshd: Sshd, tmp_path: Path) -> Iterator[Open]:
    """Yield a function that opens the host `hpc` with a configuration, and runs a command there."""
    (tmp_path / ".ssh").mkdir()
    opened: list[RemoteShell] = []

    def open_host(config: str, *, known_hosts: str | None = None, **fields: Any) -> RemoteShell:  # noqa: ANN401
        key = f"IdentityFile {sshd.key}" if "IdentityFile" not in config else ""
        server = f"Host hpc*\n  HostName 127.0.0.1\n  Port {sshd.port}\n"
        text = f"{config}\n{server}Host *\n  User {sshd.user}\n  {key}\n"
        (tmp_path / ".ssh/config").write_text(text)
        (tmp_path / ".ssh/known_hosts").write_text(known_hosts if known_hosts is not None else sshd.known_hosts)
        remote = open_remote(
            slurm_settings(None, **({"hostname": "hpc"} | fields)), {"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}
        )
        opened.append(remote)
        return remote

    yield open_host
    for remote in opened:
        remote.close()


def host_key(sshd: Sshd) -> str:
    return " ".join((sshd.root / "host.pub").read_text().split()[:2])


def other_key(folder: Path) -> str:
    keygen("ed25519", folder / "other")
    return " ".join((folder / "other.pub").read_text().split()[:2])


def works(remote: RemoteShell) -> bool:
    """Return whether a command runs, and close the connection, which later ones would share."""
    try:
        return remote.run(["echo", "reached"])[0].text == "reached\n"
    finally:
        remote.close()


def test_include_and_alias(connect: Open, tmp_path: Path) -> None:
    (tmp_path / "more").write_text("Host hpc\n  ConnectTimeout 5\n")
    assert works(connect(f"Include {tmp_path}/more"))


def test_chain_of_jump_hosts(connect: Open, sshd: Sshd) -> None:
    """`hpc` is reached through `b`, which is itself reached through `a`; all are the same server."""
    hosts = f"  HostName 127.0.0.1\n  Port {sshd.port}\n"
    config = (
        f"Host a\n{hosts}Host b\n  ProxyJump a\n  HostKeyAlias b\n{hosts}Host hpc\n  ProxyJump b\n  HostKeyAlias c\n"
    )
    known = f"{sshd.known_hosts}b {host_key(sshd)}\nc {host_key(sshd)}\n"
    assert works(connect(config, known_hosts=known))
    remote = connect(config, known_hosts=f"{sshd.known_hosts}c {host_key(sshd)}\n")
    with pytest.raises(EngineError, match="host key is not known"):
        remote.run(["true"])


def test_proxy_command(connect: Open, sshd: Sshd) -> None:
    command = f"exec ssh -F /dev/null -i {sshd.key} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null"
    assert works(connect(f"Host hpc\n  ProxyCommand {command} -p {sshd.port} -W %h:%p {sshd.user}@127.0.0.1"))


def test_failing_proxy_command_is_reported_with_its_text(connect: Open) -> None:
    remote = connect("Host hpc\n  ProxyCommand echo no ticket >&2; false")
    with pytest.raises(UnreachableError, match=r"the ProxyCommand for .* fails: no ticket") as raised:
        remote.run(["true"])
    assert raised.value.problems[0].hint == "try it by hand: echo no ticket >&2; false"


@pytest.mark.parametrize("name", ["*", "[127.0.0.*]:*", "[127.0.0.?]:{port}", "other,[127.0.0.1]:{port}"])
def test_wildcards_in_known_hosts(connect: Open, sshd: Sshd, name: str) -> None:
    assert works(connect("", known_hosts=f"{name.format(port=sshd.port)} {host_key(sshd)}\n"))


@pytest.mark.parametrize("line", ["!*:{port},* {key}", "@revoked * {key}\n* {key}", "@cert-authority * {key}", ""])
def test_host_without_an_accepted_key_is_rejected(connect: Open, sshd: Sshd, line: str) -> None:
    remote = connect("", known_hosts=line.format(port=sshd.port, key=host_key(sshd)))
    with pytest.raises(EngineError, match="rejected"):
        remote.run(["true"])


def test_several_keys_of_one_type_are_all_accepted(connect: Open, sshd: Sshd, tmp_path: Path) -> None:
    own, other = host_key(sshd), other_key(tmp_path)
    assert works(connect("", known_hosts=f"* {own}\n* {other}\n"))
    assert works(
        connect("Host hpc\n  UserKnownHostsFile ~/.ssh/x", hostname="hpc2", known_hosts=f"* {other}\n* {own}\n")
    )


def test_files_of_known_hosts_and_revoked_keys(connect: Open, sshd: Sshd, tmp_path: Path) -> None:
    (tmp_path / "known").write_text(sshd.known_hosts)
    assert works(connect(f"Host hpc\n  UserKnownHostsFile {tmp_path}/none {tmp_path}/known", known_hosts=""))
    (tmp_path / "revoked").write_text(f"{host_key(sshd)}\n")
    remote = connect(f"Host hpc2\n  RevokedHostKeys {tmp_path}/revoked", hostname="hpc2")
    with pytest.raises(EngineError, match="host key has changed"):
        remote.run(["true"])


def test_certificates_beside_keys_and_in_the_configuration(connect: Open, sshd: Sshd, tmp_path: Path) -> None:
    """The server accepts keys only with a certificate of its authority."""
    keygen("ed25519", tmp_path / "authority")
    keygen("ed25519", tmp_path / "id")
    sign = ["ssh-keygen", "-q", "-s", str(tmp_path / "authority"), "-I", "test", "-n", sshd.user, f"{tmp_path}/id.pub"]
    subprocess.run(sign, check=True)
    authority = sshd.root / "authority.pub"
    authority.write_text((tmp_path / "authority.pub").read_text())
    with Sshd(sshd.user, options=(f"TrustedUserCAKeys {authority}",)) as server:
        known = server.known_hosts
        place = f"  Port {server.port}\n"
        assert works(connect(f"Host hpc\n{place}  IdentityFile {tmp_path}/id", known_hosts=known))
        assert works(connect(f"Host hpc2\n{place}", hostname="hpc2", key_file=f"{tmp_path}/id", known_hosts=known))
        (tmp_path / "id-cert.pub").rename(tmp_path / "elsewhere.pub")
        lines = f"{place}  IdentityFile {tmp_path}/id\n  CertificateFile {tmp_path}/elsewhere.pub"
        assert works(connect(f"Host hpc3\n{lines}", hostname="hpc3", known_hosts=known))
        with pytest.raises(EngineError, match="accepts none of the offered keys"):
            connect(f"Host hpc4\n{place}  IdentityFile {tmp_path}/id", hostname="hpc4", known_hosts=known).run(["true"])


@pytest.mark.parametrize("passphrase", ["", "open sesame"])
def test_pkcs8_keys(sshd: Sshd, tmp_path: Path, passphrase: str) -> None:
    (tmp_path / "id").write_text(sshd.key.read_text())
    (tmp_path / "id").chmod(0o600)
    convert = ["ssh-keygen", "-p", "-m", "PKCS8", "-P", "", "-N", passphrase, "-f", str(tmp_path / "id")]
    subprocess.run(convert, check=True, stdout=subprocess.DEVNULL)
    text = (tmp_path / "id").read_text()
    settings = slurm_settings(sshd, key_file=None, key_name="KEY", key_passphrase_name="PHRASE" if passphrase else None)
    remote = open_remote(settings, {"HOME": "/nonexistent", "KEY": text, "PHRASE": f"{passphrase}\n"})
    try:
        assert works(remote)
    finally:
        remote.close()


def test_server_that_requires_more_than_a_key_is_explained(connect: Open, sshd: Sshd) -> None:
    options = ("AuthenticationMethods publickey,keyboard-interactive", "KbdInteractiveAuthentication yes")
    with Sshd(sshd.user, options=options) as server:
        (server.root / "authorized_keys").write_text(Path(f"{sshd.key}.pub").read_text())
        remote = connect(f"Host hpc\n  Port {server.port}", known_hosts=server.known_hosts)
        with pytest.raises(EngineError, match="requires keyboard-interactive"):
            remote.run(["true"])


def test_host_without_a_key_is_explained(connect: Open) -> None:
    remote = connect("Host hpc\n  IdentityFile ~/.ssh/none\n  IdentitiesOnly yes")
    with pytest.raises(EngineError, match="there is no private key for") as raised:
        remote.run(["true"])
    assert "execution.key_file" in (raised.value.problems[0].hint or "")


def test_executors_with_the_same_access_share_a_connection(connect: Open) -> None:
    first, second, other = connect(""), connect(""), connect("", username="somebody")
    assert first._transport is second._transport
    assert other._transport is not first._transport
    assert first.run(["true"])[0].code == 0
    first.close()
    assert second.run(["true"])[0].code == 0, "the connection is still in use"
