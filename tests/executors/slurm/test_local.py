from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest
from tests.support.slurm.settings import open_remote, slurm_settings

from nel_action.executors.slurm.transport import LostError


def test_commands_run_here_without_ssh() -> None:
    remote = open_remote(slurm_settings(None), {"PATH": "/usr/bin:/bin"})
    good, bad = remote.run(["printf", "%s", "it's $HOME"], ["false"])
    assert (good.text, bad.code) == ("it's $HOME", 1)


def test_what_is_in_our_environment_stays_here() -> None:
    environ = {"PATH": "/usr/bin:/bin", "MODEL_API_KEY": "sk-made-up", "SLURM_CONF": "/etc/x"}
    (done,) = open_remote(slurm_settings(None), environ).run(["env"])
    assert "sk-made-up" not in done.text
    assert "SLURM_CONF=/etc/x" in done.text


def test_a_command_that_takes_too_long_is_unknown_and_ended() -> None:
    with pytest.raises(LostError, match="did not answer within"):
        open_remote(slurm_settings(None), {"PATH": "/usr/bin:/bin"}).once(["sleep", "60"], seconds=0.2)


def test_files_are_copied(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\0\xff")
    open_remote(slurm_settings(None)).fetch([(PurePosixPath(tmp_path / "a"), tmp_path / "b")])
    assert (tmp_path / "b").read_bytes() == b"\0\xff"
