from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest
from tests.support.slurm.cluster import cluster_user
from tests.support.slurm.relay import Relay
from tests.support.slurm.settings import open_remote, slurm_settings
from tests.support.slurm.sshd import Sshd, keygen

from nel_action.errors import EngineError, UnreachableError
from nel_action.executors.slurm.remote import RemoteShell
from nel_action.executors.slurm.transport import OutcomeUnknownError

pytestmark = pytest.mark.slurm


def home_file(name: str) -> Path:
    """Return an unused path in the user's home directory."""
    return Path(cluster_user().pw_dir) / f"{name}-{os.urandom(4).hex()}"


@pytest.fixture
def remote(sshd: Sshd) -> Iterator[RemoteShell]:
    remote = open_remote(slurm_settings(sshd))
    yield remote
    remote.close()


def test_run_returns_one_result_per_command(remote: RemoteShell) -> None:
    printed, failed, silent = remote.run(["printf", "a\nb"], ["sh", "-c", "echo out; echo oh >&2; exit 7"], ["true"])
    assert (printed.code, printed.stdout) == (0, b"a\nb")
    assert (failed.code, failed.stdout, failed.error_line) == (7, b"out\n", "oh")
    assert (silent.code, silent.stdout, silent.stderr) == (0, b"", b"")
    assert remote.round_trips == 1


def test_arguments_are_passed_unchanged(remote: RemoteShell) -> None:
    arguments = ["a b", "it's", '"$HOME"', "`id`", "$(id)", "new\nline", "", "ü*?"]
    (result,) = remote.run(["printf", "%s|", *arguments])
    assert result.text == "|".join(arguments) + "|"
    assert remote.run_once(["printf", "%s|", *arguments]).text == "|".join(arguments) + "|"


def test_run_reads_large_output_on_both_streams(remote: RemoteShell) -> None:
    (result,) = remote.run(["sh", "-c", "head -c 6000000 /dev/zero >&2; head -c 6000000 /dev/zero"])
    assert (len(result.stdout), len(result.stderr)) == (6_000_000, 6_000_000)


def test_run_passes_thousands_of_arguments(remote: RemoteShell) -> None:
    (result,) = remote.run(["printf", "%s ", *[f"{'x' * 90}{n}" for n in range(4000)]])
    assert result.text.split()[-1].endswith("3999")


def test_run_once_passes_large_input(remote: RemoteShell) -> None:
    data = bytes(range(256)) * 20_000
    assert remote.run_once(["wc", "-c"], stdin=data).text.split() == [str(len(data))]


def test_run_once_ignores_unread_input(remote: RemoteShell) -> None:
    assert remote.run_once(["false"], stdin=b"x" * 10_000_000).code == 1


def test_output_of_startup_files_is_discarded(sshd: Sshd) -> None:
    profile = Path(cluster_user().pw_dir) / ".bash_profile"
    profile.write_text("echo welcome; echo careful >&2\n")
    remote = open_remote(slurm_settings(sshd), login_shell=True)
    try:
        (result,) = remote.run(["echo", "hi"])
        assert (result.stdout, result.stderr) == (b"hi\n", b"")
        assert remote.run_once(["echo", "hi"]).stdout == b"hi\n"
    finally:
        remote.close()
        profile.unlink()


def test_bin_dir_precedes_path(sshd: Sshd) -> None:
    remote = open_remote(slurm_settings(sshd), bin_dir="/opt/slurm bin")
    assert remote.run(["sh", "-c", 'echo "$PATH"'])[0].text.startswith("/opt/slurm bin:")
    remote.close()


def test_unknown_host_is_rejected_with_its_known_hosts_line(sshd: Sshd) -> None:
    remote = open_remote(slurm_settings(sshd, known_hosts="# empty\n"))
    with pytest.raises(EngineError, match="not known") as raised:
        remote.run(["true"])
    assert sshd.known_hosts.strip() in str(raised.value)
    assert "SHA256:" in str(raised.value)


def test_changed_host_key_is_rejected(sshd: Sshd, tmp_path: Path) -> None:
    keygen("ed25519", tmp_path / "other")
    kind, key = (tmp_path / "other.pub").read_text().split()[:2]
    remote = open_remote(slurm_settings(sshd, known_hosts=f"[127.0.0.1]:{sshd.port} {kind} {key}\n"))
    with pytest.raises(EngineError, match="has changed") as raised:
        remote.run(["true"])
    assert sshd.known_hosts.strip() in str(raised.value)


def test_revoked_host_key_is_rejected(sshd: Sshd) -> None:
    lines = f"{sshd.known_hosts}@revoked * {sshd.known_hosts.partition(' ')[2]}"
    with pytest.raises(EngineError, match="rejected: its host key has changed"):
        open_remote(slurm_settings(sshd, known_hosts=lines)).run(["true"])


def test_known_hosts_are_read_from_file_or_variable(sshd: Sshd, tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text(sshd.known_hosts)
    for fields in ({"known_hosts": str(tmp_path / "hosts")}, {"known_hosts": None, "known_hosts_name": "HOSTS"}):
        remote = open_remote(slurm_settings(sshd, **fields), {"HOSTS": sshd.known_hosts})
        assert remote.run(["true"])[0].code == 0
        remote.close()


def test_unauthorised_key_is_rejected(sshd: Sshd, tmp_path: Path) -> None:
    keygen("ed25519", tmp_path / "unauthorised")
    with pytest.raises(EngineError, match="accepts none of the offered keys") as raised:
        open_remote(slurm_settings(sshd, key_file=str(tmp_path / "unauthorised"))).run(["true"])
    assert "execution.username" in str(raised.value)


def test_key_is_read_from_a_variable(sshd: Sshd) -> None:
    text = sshd.key.read_text().replace("\n", "\\n")
    remote = open_remote(slurm_settings(sshd, key_file=None, key_name="KEY"), {"KEY": text})
    assert remote.run(["true"])[0].code == 0
    remote.close()


def test_proxy_jump_checks_both_host_keys(sshd: Sshd) -> None:
    with Sshd(sshd.user) as jump:
        authorized_keys = jump.root / "authorized_keys"
        authorized_keys.write_text(Path(f"{sshd.key}.pub").read_text())
        settings = slurm_settings(
            sshd,
            known_hosts=sshd.known_hosts + jump.known_hosts,
            proxy_jump=f"{sshd.user}@127.0.0.1:{jump.port}",
        )
        remote = open_remote(settings)
        assert remote.run(["echo", "reached"])[0].text == "reached\n"
        remote.close()
        with pytest.raises(EngineError, match="not known"):
            open_remote(settings.model_copy(update={"known_hosts": sshd.known_hosts})).run(["true"])


def test_closed_port_is_unreachable() -> None:
    settings = slurm_settings(None, hostname="127.0.0.1", port=1, known_hosts="# none\n")
    with pytest.raises(UnreachableError, match="refuses connections"):
        open_remote(settings).run(["true"])


def test_run_reconnects_after_a_cut(sshd: Sshd) -> None:
    with Relay(sshd.port) as relay:
        remote = open_remote(
            slurm_settings(sshd, port=relay.port, known_hosts=sshd.known_hosts_line("127.0.0.1", relay.port))
        )
        assert remote.run(["echo", "1"])[0].text == "1\n"
        relay.cut()
        assert remote.run(["echo", "2"])[0].text == "2\n"
        relay.cut_after(0.2)
        assert remote.run(["sh", "-c", "sleep 0.5; echo 3"])[0].text == "3\n"
        remote.close()


def test_run_once_is_not_repeated_after_a_cut(sshd: Sshd) -> None:
    count = home_file("count")
    with Relay(sshd.port) as relay:
        settings = slurm_settings(sshd, port=relay.port, known_hosts=sshd.known_hosts_line("127.0.0.1", relay.port))
        remote = open_remote(settings)
        remote.run(["true"])
        relay.cut_after(0.2)
        with pytest.raises(OutcomeUnknownError):
            remote.run_once(["sh", "-c", f"echo >> {count}; sleep 1"])
        assert count.read_text() == "\n"
        remote.close()
    count.unlink()


def test_outcome_of_a_killed_command_is_unknown(remote: RemoteShell) -> None:
    with pytest.raises(OutcomeUnknownError):
        remote.run_once(["sh", "-c", "kill -9 $PPID"])


def test_frozen_server_is_unreachable_within_the_time_limit(sshd: Sshd) -> None:
    remote = open_remote(slurm_settings(sshd, connect_timeout=1), seconds=1)
    assert remote.run(["true"])[0].code == 0
    sshd.signal_all(signal.SIGSTOP)
    try:
        start = time.monotonic()
        with pytest.raises(UnreachableError):
            remote.run(["true"])
        assert time.monotonic() - start < 20
    finally:
        sshd.signal_all(signal.SIGCONT)
    assert remote.run(["echo", "back"])[0].text == "back\n"
    remote.close()


def test_concurrent_commands_work_with_one_session_per_connection(sshd: Sshd) -> None:
    with Sshd(sshd.user, options=("MaxSessions 1",)) as strict:
        remote = open_remote(slurm_settings(strict))
        outputs: list[str] = []

        def echo(text: str) -> None:
            outputs.append(remote.run(["sh", "-c", f"sleep 0.3; echo {text}"])[0].text.strip())

        threads = [threading.Thread(target=echo, args=(text,)) for text in ("a", "b", "c")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outputs) == ["a", "b", "c"]
        remote.close()


def test_fetch_copies_files_byte_by_byte(remote: RemoteShell, tmp_path: Path) -> None:
    big, empty = home_file("big"), home_file("empty")
    data = bytes(range(256)) * 40_000
    big.write_bytes(data)
    empty.write_bytes(b"")
    remote.fetch([(PurePosixPath(big), tmp_path / "big"), (PurePosixPath(empty), tmp_path / "empty")])
    assert (tmp_path / "big").read_bytes() == data
    assert (tmp_path / "empty").read_bytes() == b""
    with pytest.raises(FileNotFoundError):
        remote.fetch([(PurePosixPath(home_file("absent")), tmp_path / "absent")])
    big.unlink()
    empty.unlink()


def test_fetch_raises_when_the_connection_is_cut(sshd: Sshd, tmp_path: Path) -> None:
    big = home_file("big")
    big.write_bytes(bytes(60_000_000))
    with Relay(sshd.port) as relay:
        remote = open_remote(
            slurm_settings(sshd, port=relay.port, known_hosts=sshd.known_hosts_line("127.0.0.1", relay.port))
        )
        remote.run(["true"])
        relay.cut_after_bytes(5_000_000)
        with pytest.raises(UnreachableError):
            remote.fetch([(PurePosixPath(big), tmp_path / "big")])
        remote.close()
    big.unlink()
