from __future__ import annotations

import getpass
from pathlib import Path

import pytest
from tests.support.slurm.settings import slurm_settings

from nel_action.errors import UsageError
from nel_action.executors.slurm.ssh.connection import parse_hop, route


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("host", (None, "host", None)),
        ("me@host", ("me", "host", None)),
        ("me@host:2222", ("me", "host", 2222)),
        ("[::1]:22", (None, "::1", 22)),
        ("fe80::1", (None, "fe80::1", None)),
    ],
)
def test_parse_hop_splits_user_host_and_port(text: str, parts: tuple[str | None, str, int | None]) -> None:
    assert parse_hop(text) == parts


@pytest.mark.parametrize("text", ["", "me@", "host:ssh"])
def test_parse_hop_rejects_malformed_text(text: str) -> None:
    with pytest.raises(UsageError, match="proxy_jump"):
        parse_hop(text)


def test_route_resolves_aliases_of_ssh_config(tmp_path: Path) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/config").write_text(
        "Host hpc\n  HostName login.example\n  User ann\n  Port 2200\n  ProxyJump gate\n"
        "Host gate\n  HostName gate.example\n  IdentityFile /keys/gate\n"
    )
    hops = route(slurm_settings(None, hostname="hpc"), {"HOME": str(tmp_path)})
    assert [str(hop) for hop in hops] == [f"{getpass.getuser()}@gate.example", "ann@login.example:2200"]
    assert hops[0].key_files == ("/keys/gate",)
    assert hops[1].known_hosts_name == "[login.example]:2200"


def test_route_prefers_the_spec_over_ssh_config(tmp_path: Path) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh/config").write_text("Host *\n  User ann\n  Port 2200\n  ProxyJump gate\n")
    settings = slurm_settings(None, hostname="h", username="bob", port=22, proxy_jump="none")
    assert [str(hop) for hop in route(settings, {"HOME": str(tmp_path)})] == ["bob@h"]
