"""Configurations of OpenSSH: resolved completely, and options that cannot be honoured are rejected by name."""

from __future__ import annotations

import getpass
from pathlib import Path

import pytest
from tests.support.slurm.settings import slurm_settings

from nel_action.errors import UsageError
from nel_action.executors.slurm.ssh import openssh_config
from nel_action.executors.slurm.ssh.connection import Hop, route

ME = getpass.getuser()


@pytest.fixture(params=["ssh -G", "paramiko"])
def environ(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, str]:
    """Return an environment with a home directory, with and without OpenSSH."""
    (tmp_path / ".ssh").mkdir()
    path = "/usr/bin:/bin" if request.param == "ssh -G" else str(tmp_path)
    return {"HOME": str(tmp_path), "PATH": path}


def write(environ: dict[str, str], text: str) -> None:
    (Path(environ["HOME"]) / ".ssh/config").write_text(text.replace("~", environ["HOME"]))


def hops(environ: dict[str, str], **fields: object) -> list[Hop]:
    return route(slurm_settings(None, **({"hostname": "hpc"} | fields)), environ)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Host hpc\n  HostName login.example\n  User ann\n  Port 2200\n", ["ann@login.example:2200"]),
        ("Host *\n  User ann\nHost hpc\n  User bob\n", ["ann@hpc"]),
        ("Host !hpc *\n  User ann\n", [f"{ME}@hpc"]),
        ("Host h?c\n  User ann\n", ["ann@hpc"]),
        ("Match host hpc\n  User ann\n", ["ann@hpc"]),
        ('Host hpc\n  User = "ann"\n', ["ann@hpc"]),
        ("Host hpc\n  HostName %h.example\n", [f"{ME}@hpc.example"]),
        ("host hpc\n  hostname login.example\n", [f"{ME}@login.example"]),
        ("Host hpc\n  ProxyJump gate\nHost gate\n  User ann\n  Port 2222\n", ["ann@gate:2222", f"{ME}@hpc"]),
        ("Host hpc\n  ProxyJump bob@gate:23\n", ["bob@gate:23", f"{ME}@hpc"]),
        ("Host hpc\n  ProxyJump a,b\n", [f"{ME}@a", f"{ME}@b", f"{ME}@hpc"]),
        ("Host hpc\n  ProxyJump b\nHost b\n  ProxyJump a\n", [f"{ME}@a", f"{ME}@b", f"{ME}@hpc"]),
        ("Host hpc\n  ProxyJump a,b\nHost b\n  ProxyJump c\n", [f"{ME}@a", f"{ME}@b", f"{ME}@hpc"]),
        ("Host hpc\n  ProxyJump none\n", [f"{ME}@hpc"]),
        ("", [f"{ME}@hpc"]),
        ("# caf\u00e9\nHost hpc\n  User ann\n", ["ann@hpc"]),
    ],
)
def test_route_follows_the_configuration(environ: dict[str, str], text: str, expected: list[str]) -> None:
    write(environ, text)
    assert [str(hop) for hop in hops(environ)] == expected


def test_route_reads_latin_1(environ: dict[str, str]) -> None:
    (Path(environ["HOME"]) / ".ssh/config").write_bytes(b"# caf\xe9\nHost hpc\n  User ann\n")
    assert str(hops(environ)[0]) == "ann@hpc"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Host hpc\n  Port abc\n", "abc|line 2"),
        ("Host hpc\n  ProxyJump a\nHost a\n  ProxyJump hpc\n", "lead back to .*hpc"),
        ("Host hpc\n  KnownHostsCommand /usr/bin/keys %H\n", "KnownHostsCommand"),
        ("Host hpc\n  ProxyUseFdpass yes\n", "ProxyUseFdpass"),
        ("Host hpc\n  PKCS11Provider /usr/lib/token.so\n", "PKCS11Provider"),
        ("Host hpc\n  PubkeyAuthentication no\n  GSSAPIAuthentication yes\n", "PubkeyAuthentication no"),
        ("Host hpc\n  PreferredAuthentications gssapi-with-mic\n", "PreferredAuthentications"),
        ("Host hpc\n  IdentityAgent /run/agent.sock\n", "IdentityAgent /run/agent.sock"),
        ("Host hpc\n  BindInterface eth1\n", "BindInterface"),
    ],
)
def test_unsupported_or_malformed_options_are_rejected_by_name(
    environ: dict[str, str], text: str, message: str
) -> None:
    write(environ, text)
    with pytest.raises(UsageError, match=message) as raised:
        hops(environ)
    assert raised.value.problems[0].hint or "lead back" in message or "not a number" in str(raised.value)


def test_options_of_authentication_do_not_matter_with_a_key_of_the_spec(environ: dict[str, str]) -> None:
    write(environ, "Host hpc\n  PreferredAuthentications gssapi-with-mic\n  IdentityAgent /run/agent.sock\n")
    assert [str(hop) for hop in hops(environ, key_name="KEY")] == [f"{ME}@hpc"]


def test_malformed_option_names_the_line(environ: dict[str, str]) -> None:
    write(environ, "Host hpc\n  NoSuchOption yes\n")
    if environ["PATH"] == "/usr/bin:/bin":
        with pytest.raises(UsageError, match="line 2: Bad configuration option: nosuchoption"):
            hops(environ)
    else:
        assert hops(environ)


@pytest.mark.parametrize("line", ["Include ~/.ssh/more", "CanonicalizeHostname yes"])
def test_include_and_canonical_names_need_openssh(environ: dict[str, str], line: str) -> None:
    (Path(environ["HOME"]) / ".ssh/more").write_text("Host hpc\n  User ann\n")
    write(environ, f"{line}\n")
    if environ["PATH"] == "/usr/bin:/bin":
        assert str(hops(environ)[0]) == ("ann@hpc" if "Include" in line else f"{ME}@hpc")
    else:
        with pytest.raises(UsageError, match="cannot be read without OpenSSH") as raised:
            hops(environ)
        assert "install the OpenSSH client" in (raised.value.problems[0].hint or "")


def test_host_key_alias_replaces_the_address_in_known_hosts(environ: dict[str, str]) -> None:
    write(environ, "Host hpc\n  HostKeyAlias cluster\n  Port 2200\n")
    assert hops(environ)[0].known_hosts_names == ("cluster",)


def test_files_of_the_configuration_are_resolved(environ: dict[str, str]) -> None:
    lines = ("IdentityFile ~/.ssh/a", "IdentityFile ~/.ssh/b", "CertificateFile ~/.ssh/a-cert.pub")
    write(environ, "Host hpc\n  " + "\n  ".join((*lines, "UserKnownHostsFile ~/.ssh/known ~/.ssh/older")))
    options, home = hops(environ)[0].options, environ["HOME"]
    assert options.paths("identityfile")[:2] == (f"{home}/.ssh/a", f"{home}/.ssh/b")
    assert options.paths("certificatefile") == (f"{home}/.ssh/a-cert.pub",)
    assert options.names("userknownhostsfile") == (f"{home}/.ssh/known", f"{home}/.ssh/older")


def test_proxy_jump_of_the_spec_replaces_the_configuration(environ: dict[str, str]) -> None:
    write(environ, "Host hpc\n  ProxyCommand nc %h %p\n  User ann\n")
    own = hops(environ, proxy_jump="gate", username="bob")
    assert [str(hop) for hop in own] == [f"{ME}@gate", "bob@hpc"]
    assert own[1].options.get("proxycommand") == ""
    assert hops(environ)[0].options.get("proxycommand") in {"nc %h %p", "nc hpc 22"}


def test_host_that_looks_like_an_option_is_rejected(environ: dict[str, str]) -> None:
    with pytest.raises(UsageError, match="not the name of a host"):
        hops(environ, hostname="-oProxyCommand=true")


def test_match_exec_that_hangs_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(openssh_config, "RESOLVE_SECONDS", 0.3)
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/config").write_text('Match exec "sleep 30"\n  User ann\n')
    with pytest.raises(UsageError, match="cannot resolve the SSH configuration of hpc"):
        hops({"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"})
