from __future__ import annotations

import pytest

from nel_action.errors import UsageError
from nel_action.executors.slurm.ssh.connection import parse_hop


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
