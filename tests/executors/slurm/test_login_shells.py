"""Login shells and their start-up files: whatever they print or set, results are the same."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest
from tests.support.require import require

from nel_action.errors import CollectError, EngineError
from nel_action.executors.slurm.layout import AttemptDir
from nel_action.executors.slurm.remote import RemoteShell
from nel_action.executors.slurm.transfer import collect
from nel_action.executors.slurm.transport import CommandResult
from nel_action.model.job import Key

pytestmark = pytest.mark.slow


@dataclass
class LoginShell:
    """Runs commands as sshd does: `$SHELL -c COMMAND` in the account's home directory."""

    shell: str
    home: Path
    host = "login"

    def run(self, argv: Sequence[str], *, stdin: bytes, seconds: float) -> CommandResult:
        environ = {"HOME": str(self.home), "PATH": "/usr/bin:/bin", "SSH_CLIENT": "192.0.2.1 1 22", "SHLVL": "0"}
        result = subprocess.run(
            [*self.shell.split(), "-c", shlex.join(argv)],
            input=stdin,
            env=environ,
            cwd=self.home,
            capture_output=True,
            timeout=seconds,
            check=False,
        )
        return CommandResult(result.returncode, result.stdout, result.stderr)

    def fetch(self, files: Sequence[tuple[PurePosixPath, Path]], *, seconds: float) -> None:
        del seconds
        for source, target in files:
            shutil.copyfile(source, target)

    def close(self) -> None:
        """Do nothing: there is no connection."""


NOISY = "echo WELCOME; echo 'quota: 90 %' >&2"
BASH = {
    "prints text": NOISY,
    "prints text in nested shells": f"{NOISY}\nexport BASH_ENV=$HOME/.bashrc ENV=$HOME/.bashrc",
    "prints frames of zero bytes": r"printf '\0abc 0\0\n'",
    "sets options": "set -o noclobber; export SHELLOPTS; umask 022",
    "traces commands": "set -x; export SHELLOPTS",
    "sets formats": "export SQUEUE_FORMAT=%i SACCT_FORMAT=JobID SLURM_TIME_FORMAT=relative SBATCH_TIMELIMIT=1",
    "sets options of programs": "export GREP_OPTIONS=--color=always TAR_OPTIONS=-v CDPATH=/tmp POSIXLY_CORRECT=1",
    "sets the language": "export LC_ALL=de_DE.UTF-8 LANGUAGE=de TZ=Asia/Tokyo",
    "exports functions": "cat() { echo MINE; }; find() { echo MINE; }; grep() { echo MINE; }; export -f cat find grep",
    "defines aliases": "shopt -s expand_aliases; alias cat='echo MINE' printf='echo MINE'; export BASHOPTS",
    "presets an account": "export SBATCH_ACCOUNT=mine",
}
"""What `~/.bashrc` does → its text."""

OTHERS = {
    "tcsh": (".tcshrc", "echo WELCOME; setenv BASH_ENV ~/noise; alias cat 'echo MINE'; set noclobber; umask 022"),
    "csh": (".cshrc", "echo WELCOME; setenv TAR_OPTIONS --verbose"),
    "zsh": (".zshenv", "echo WELCOME; setopt NO_CLOBBER; alias env='echo MINE'; export BASH_ENV=$HOME/noise"),
    "fish": (".config/fish/config.fish", "echo WELCOME; set -x BASH_ENV $HOME/noise; set -x LC_ALL de_DE.UTF-8"),
    "dash": (".profile", "echo WELCOME"),
    "busybox sh": (".profile", "echo WELCOME"),
}
"""Shell → a start-up file with its text."""

ACCOUNTS = [pytest.param(("bash", ".bashrc", text), id=f"bash {name}") for name, text in BASH.items()]
ACCOUNTS += [pytest.param((shell, name, text), id=shell) for shell, (name, text) in OTHERS.items()]


@pytest.fixture
def remote(request: pytest.FixtureRequest, tmp_path: Path) -> RemoteShell:
    """Return a remote shell for the account of the parameter."""
    shell, name, text = request.param
    require("slurm", shutil.which(shell.split()[0]) is not None, f"no {shell}")
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text(f"{text}\n")
    (tmp_path / "noise").write_text(f"{NOISY}\n")
    return RemoteShell(LoginShell(shell, tmp_path))


@pytest.mark.parametrize("remote", ACCOUNTS, indirect=True)
def test_results_do_not_depend_on_the_login_shell(remote: RemoteShell, tmp_path: Path) -> None:
    attempt = AttemptDir.of(str(tmp_path / "runs"), Key("nel-0123456789abcdef"), 1)
    for name, data in (("run/artifacts/a b.json", b"{}"), ("logs/client.log", b"it's\n"), ("state/exit.json", b"{}\n")):
        path = Path(attempt.path / name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    arguments = ["a b", "it's", '"$HOME"', "`id`", "!x", "new\nline", "", "ü*?", "{a,b}", "~", "%s"]
    printed, failed, date = remote.run(
        ["printf", "%s|", *arguments],
        ["bash", "--norc", "-c", "echo out; echo oh >&2; exit 7"],
        ["sh", "-c", 'date -d @0 +%Z; echo "$LC_ALL"; umask; cd /; echo one >"$1" && echo two >"$1"', "x", "/dev/null"],
    )
    assert (printed.code, printed.text) == (0, "|".join(arguments) + "|")
    assert (failed.code, failed.text, failed.error_line) == (7, "out\n", "oh")
    assert date.text == "UTC\nC\n0077\n"
    data = os.urandom(300_000)
    assert remote.run_once(["cat"], stdin=data).stdout == data
    (environment,) = remote.run(["env"])
    presets = ("SQUEUE_", "SACCT_", "SLURM_TIME", "SBATCH_TIME", "GREP_OPT", "TAR_OPT", "BASH_ENV", "CDPATH")
    assert not [line for line in environment.text.splitlines() if line.startswith(presets)]
    collect(remote, attempt, tmp_path / "into")
    assert (tmp_path / "into/artifacts/a b.json").read_bytes() == b"{}"


def test_preset_account_is_kept_unless_the_spec_names_one(tmp_path: Path) -> None:
    (tmp_path / ".bashrc").write_text(BASH["presets an account"])
    read = ["sh", "-c", 'echo "${SBATCH_ACCOUNT-none}"']
    assert RemoteShell(LoginShell("bash", tmp_path)).run(read)[0].text == "mine\n"
    assert RemoteShell(LoginShell("bash", tmp_path), preset=()).run(read)[0].text == "none\n"


def test_login_shell_option_reads_the_profile(tmp_path: Path) -> None:
    (tmp_path / ".bash_profile").write_text(f"{NOISY}\nexport FROM_PROFILE=yes\n")
    remote = RemoteShell(LoginShell("dash", tmp_path), login_shell=True)
    assert remote.run(["sh", "-c", 'echo "$FROM_PROFILE"'])[0].text == "yes\n"
    assert remote.run_once(["cat"], stdin=b"data\n").text == "data\n"


@pytest.mark.parametrize("text", ["read -r line", "cat >/dev/null", "head -c 40 >/dev/null"])
def test_start_up_file_that_reads_standard_input_is_reported(tmp_path: Path, text: str) -> None:
    (tmp_path / ".bashrc").write_text(f"{text}\n")
    remote = RemoteShell(LoginShell("bash", tmp_path))
    with pytest.raises(EngineError, match="reads the standard input"):
        remote.run(["true"])
    with pytest.raises(EngineError, match="reads the standard input"):
        remote.run_once(["true"], stdin=b"x\n" * 100)


def test_malformed_list_of_files_is_a_collect_error(tmp_path: Path) -> None:
    attempt = AttemptDir.of(str(tmp_path), Key("nel-0123456789abcdef"), 1)
    Path(attempt.path / "logs").mkdir(parents=True)
    Path(attempt.path / "logs/client.log").write_text("text")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/sha256sum").write_text("#!/bin/sh\necho WELCOME\n")
    (tmp_path / "bin/sha256sum").chmod(0o755)
    remote = RemoteShell(LoginShell("bash", tmp_path), bin_dir=str(tmp_path / "bin"))
    with pytest.raises(CollectError, match="unexpected list of files from login: '0 WELCOME"):
        collect(remote, attempt, tmp_path / "into")
