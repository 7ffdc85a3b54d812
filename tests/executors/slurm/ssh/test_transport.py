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
from nel_action.executors.slurm.remote import Remote
from nel_action.executors.slurm.transport import LostError

pytestmark = pytest.mark.slurm


def home_file(name: str) -> Path:
    """Return a path in the user's home that no other run of these tests has."""
    return Path(cluster_user().pw_dir) / f"{name}-{os.urandom(4).hex()}"


@pytest.fixture
def remote(sshd: Sshd) -> Iterator[Remote]:
    remote = open_remote(slurm_settings(sshd))
    yield remote
    remote.close()


def test_each_command_has_its_own_answer(remote: Remote) -> None:
    good, bad, quiet = remote.run(["printf", "a\nb"], ["sh", "-c", "echo out; echo oh >&2; exit 7"], ["true"])
    assert (good.code, good.out) == (0, b"a\nb")
    assert (bad.code, bad.out, bad.complaint) == (7, b"out\n", "oh")
    assert (quiet.code, quiet.out, quiet.err) == (0, b"", b"")
    assert remote.round_trips == 1


def test_words_reach_the_other_end_as_they_are(remote: Remote) -> None:
    words = ["a b", "it's", '"$HOME"', "`id`", "$(id)", "new\nline", "", "ü*?"]
    (done,) = remote.run(["printf", "%s|", *words])
    assert done.text == "|".join(words) + "|"
    assert remote.once(["printf", "%s|", *words]).text == "|".join(words) + "|"


def test_a_megabyte_on_both_streams_at_once(remote: Remote) -> None:
    (done,) = remote.run(["sh", "-c", "head -c 6000000 /dev/zero >&2; head -c 6000000 /dev/zero"])
    assert (len(done.out), len(done.err)) == (6_000_000, 6_000_000)


def test_a_long_list_of_words_fits(remote: Remote) -> None:
    (done,) = remote.run(["printf", "%s ", *[f"{'x' * 90}{n}" for n in range(4000)]])
    assert done.text.split()[-1].endswith("3999")


def test_input_of_any_size_is_passed(remote: Remote) -> None:
    data = bytes(range(256)) * 20_000
    assert remote.once(["wc", "-c"], stdin=data).text.split() == [str(len(data))]


def test_input_that_nobody_reads_is_no_trouble(remote: Remote) -> None:
    assert remote.once(["false"], stdin=b"x" * 10_000_000).code == 1


def test_noise_from_startup_files_is_dropped(sshd: Sshd) -> None:
    profile = Path(cluster_user().pw_dir) / ".bash_profile"
    profile.write_text("echo welcome; echo careful >&2\n")
    remote = open_remote(slurm_settings(sshd), login_shell=True)
    try:
        (done,) = remote.run(["echo", "hi"])
        assert (done.out, done.err) == (b"hi\n", b"")
        assert remote.once(["echo", "hi"]).out == b"hi\n"
    finally:
        remote.close()
        profile.unlink()


def test_a_directory_of_programs_comes_first(sshd: Sshd) -> None:
    remote = open_remote(slurm_settings(sshd), bin_dir="/opt/slurm bin")
    assert remote.run(["sh", "-c", 'echo "$PATH"'])[0].text.startswith("/opt/slurm bin:")
    remote.close()


def test_an_unknown_host_is_refused_with_the_line_to_add(sshd: Sshd) -> None:
    remote = open_remote(slurm_settings(sshd, known_hosts="# nobody here yet\n"))
    with pytest.raises(EngineError, match="not known") as caught:
        remote.run(["true"])
    assert sshd.known_hosts.strip() in str(caught.value)
    assert "SHA256:" in str(caught.value)


def test_a_changed_host_key_is_refused(sshd: Sshd, tmp_path: Path) -> None:
    keygen("ed25519", tmp_path / "other")
    kind, key = (tmp_path / "other.pub").read_text().split()[:2]
    remote = open_remote(slurm_settings(sshd, known_hosts=f"[127.0.0.1]:{sshd.port} {kind} {key}\n"))
    with pytest.raises(EngineError, match="has changed") as caught:
        remote.run(["true"])
    assert sshd.known_hosts.strip() in str(caught.value)


def test_a_revoked_host_key_is_refused(sshd: Sshd) -> None:
    lines = f"{sshd.known_hosts}@revoked * {sshd.known_hosts.partition(' ')[2]}"
    with pytest.raises(EngineError, match="was not trusted"):
        open_remote(slurm_settings(sshd, known_hosts=lines)).run(["true"])


def test_known_hosts_from_a_file_and_from_a_variable(sshd: Sshd, tmp_path: Path) -> None:
    (tmp_path / "hosts").write_text(sshd.known_hosts)
    for fields in ({"known_hosts": str(tmp_path / "hosts")}, {"known_hosts": None, "known_hosts_name": "HOSTS"}):
        remote = open_remote(slurm_settings(sshd, **fields), {"HOSTS": sshd.known_hosts})
        assert remote.run(["true"])[0].code == 0
        remote.close()


def test_a_key_that_opens_nothing(sshd: Sshd, tmp_path: Path) -> None:
    keygen("ed25519", tmp_path / "stranger")
    with pytest.raises(EngineError, match="accepts none of the keys") as caught:
        open_remote(slurm_settings(sshd, key_file=str(tmp_path / "stranger"))).run(["true"])
    assert "execution.username" in str(caught.value)


def test_a_key_from_a_variable(sshd: Sshd) -> None:
    text = sshd.key.read_text().replace("\n", "\\n")
    remote = open_remote(slurm_settings(sshd, key_file=None, key_name="KEY"), {"KEY": text})
    assert remote.run(["true"])[0].code == 0
    remote.close()


def test_through_another_host(sshd: Sshd) -> None:
    with Sshd(sshd.user) as jump:
        shutil_key = jump.root / "authorized_keys"
        shutil_key.write_text(Path(f"{sshd.key}.pub").read_text())
        settings = slurm_settings(
            sshd,
            known_hosts=sshd.known_hosts + jump.known_hosts,
            proxy_jump=f"{sshd.user}@127.0.0.1:{jump.port}",
        )
        remote = open_remote(settings)
        assert remote.run(["echo", "far"])[0].text == "far\n"
        remote.close()
        with pytest.raises(EngineError, match="not known"):
            open_remote(settings.model_copy(update={"known_hosts": sshd.known_hosts})).run(["true"])


def test_nobody_listens() -> None:
    settings = slurm_settings(None, hostname="127.0.0.1", port=1, known_hosts="# none\n")
    with pytest.raises(UnreachableError, match="refuses connections"):
        open_remote(settings).run(["true"])


def test_a_cut_connection_is_made_again(sshd: Sshd) -> None:
    with Relay(sshd.port) as relay:
        remote = open_remote(slurm_settings(sshd, port=relay.port, known_hosts=sshd.known_as("127.0.0.1", relay.port)))
        assert remote.run(["echo", "1"])[0].text == "1\n"
        relay.cut()
        assert remote.run(["echo", "2"])[0].text == "2\n"
        relay.cut_after(0.2)
        assert remote.run(["sh", "-c", "sleep 0.5; echo 3"])[0].text == "3\n"
        remote.close()


def test_a_command_that_must_not_run_twice_is_not_repeated(sshd: Sshd) -> None:
    count = home_file("count")
    with Relay(sshd.port) as relay:
        settings = slurm_settings(sshd, port=relay.port, known_hosts=sshd.known_as("127.0.0.1", relay.port))
        remote = open_remote(settings)
        remote.run(["true"])
        relay.cut_after(0.2)
        with pytest.raises(LostError):
            remote.once(["sh", "-c", f"echo >> {count}; sleep 1"])
        assert count.read_text() == "\n"
        remote.close()
    count.unlink()


def test_a_command_killed_there_is_unknown(remote: Remote) -> None:
    with pytest.raises(LostError):
        remote.once(["sh", "-c", "kill -9 $PPID"])


def test_a_frozen_server_is_noticed_and_left(sshd: Sshd) -> None:
    remote = open_remote(slurm_settings(sshd, connect_timeout=1), seconds=1)
    assert remote.run(["true"])[0].code == 0
    sshd.signal_all(signal.SIGSTOP)
    try:
        began = time.monotonic()
        with pytest.raises(UnreachableError):
            remote.run(["true"])
        assert time.monotonic() - began < 20
    finally:
        sshd.signal_all(signal.SIGCONT)
    assert remote.run(["echo", "back"])[0].text == "back\n"
    remote.close()


def test_a_server_that_allows_one_session_at_a_time(sshd: Sshd) -> None:
    with Sshd(sshd.user, options=("MaxSessions 1",)) as strict:
        remote = open_remote(slurm_settings(strict))
        answers: list[str] = []

        def ask(word: str) -> None:
            answers.append(remote.run(["sh", "-c", f"sleep 0.3; echo {word}"])[0].text.strip())

        threads = [threading.Thread(target=ask, args=(word,)) for word in ("a", "b", "c")]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(answers) == ["a", "b", "c"]
        remote.close()


def test_files_come_as_they_are(remote: Remote, tmp_path: Path) -> None:
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


def test_a_cut_while_files_come_is_an_error(sshd: Sshd, tmp_path: Path) -> None:
    big = home_file("big")
    big.write_bytes(bytes(60_000_000))
    with Relay(sshd.port) as relay:
        remote = open_remote(slurm_settings(sshd, port=relay.port, known_hosts=sshd.known_as("127.0.0.1", relay.port)))
        remote.run(["true"])
        relay.cut_after_bytes(5_000_000)
        with pytest.raises(UnreachableError):
            remote.fetch([(PurePosixPath(big), tmp_path / "big")])
        remote.close()
    big.unlink()
