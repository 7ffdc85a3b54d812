from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
from tests.support.slurm.settings import open_remote, slurm_settings

from nel_action.executors.slurm.transport import OutcomeUnknownError


def test_local_transport_runs_commands_without_ssh() -> None:
    remote = open_remote(slurm_settings(None), {"PATH": "/usr/bin:/bin"})
    printed, failed = remote.run(["printf", "%s", "it's $HOME"], ["false"])
    assert (printed.text, failed.code) == ("it's $HOME", 1)


def test_local_transport_passes_on_login_variables_only() -> None:
    environ = {"PATH": "/usr/bin:/bin", "MODEL_API_KEY": "sk-made-up", "SLURM_CONF": "/etc/x"}
    (result,) = open_remote(slurm_settings(None), environ).run(["env"])
    assert "sk-made-up" not in result.text
    assert "SLURM_CONF=/etc/x" in result.text


def test_local_transport_kills_a_command_at_its_time_limit() -> None:
    with pytest.raises(OutcomeUnknownError, match="did not finish within"):
        open_remote(slurm_settings(None), {"PATH": "/usr/bin:/bin"}).run_once(["sleep", "60"], seconds=0.2)


def test_local_transport_copies_files(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\0\xff")
    open_remote(slurm_settings(None)).fetch([(PurePosixPath(tmp_path / "a"), tmp_path / "b")])
    assert (tmp_path / "b").read_bytes() == b"\0\xff"
