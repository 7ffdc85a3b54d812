"""A real OpenSSH server on the loopback, before a cluster or before nothing at all."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Self

from tests.support.slurm.daemons import Daemon, children, free_ports, port_open, process_gone, wait_until

__all__ = ["Sshd"]


class Sshd:
    """Lets one user in by one key; starts on entry, ends with all its sessions on exit."""

    def __init__(self, user: str, *, slurm_conf: Path | None = None, options: tuple[str, ...] = ()) -> None:
        self.root = Path(tempfile.mkdtemp(prefix="nel-sshd-"))
        self.root.chmod(0o755)
        self.user = user
        self.port = free_ports(1)[0]
        self.key = self.root / "id"
        """The client's private key."""
        self._options = options + ((f"SetEnv SLURM_CONF={slurm_conf}",) if slurm_conf else ())
        self.daemon = Daemon("sshd", self.root / "sshd.pid")
        keygen("ed25519", self.root / "host")
        keygen("ed25519", self.key)

    @property
    def known_hosts(self) -> str:
        """The line that makes this server known."""
        return self.known_hosts_line("127.0.0.1", self.port)

    def known_hosts_line(self, host: str, port: int) -> str:
        """Return the line that makes this server known under another name, as through a relay."""
        kind, key = (self.root / "host.pub").read_text().split()[:2]
        return f"[{host}]:{port} {kind} {key}\n"

    def change_host_key(self) -> None:
        """Become another machine, as far as a client can tell."""
        self.daemon.stop()
        (self.root / "host").unlink()
        keygen("ed25519", self.root / "host")
        self.start()

    def start(self) -> None:
        """Start the server."""
        shutil.copy(f"{self.key}.pub", self.root / "authorized_keys")
        (self.root / "authorized_keys").chmod(0o644)
        given = {option.split()[0] for option in self._options}
        lines = [
            f"Port {self.port}",
            "ListenAddress 127.0.0.1",
            f"HostKey {self.root}/host",
            f"PidFile {self.root}/sshd.pid",
            f"AuthorizedKeysFile {self.root}/authorized_keys",
            "StrictModes no",
            "UsePAM no",
            "PasswordAuthentication no",
            "KbdInteractiveAuthentication no",
            f"AllowUsers {self.user}",
            "MaxStartups 50",
            "Subsystem sftp internal-sftp",
            *self._options,
        ]
        lines += [] if "MaxSessions" in given else ["MaxSessions 20"]
        (self.root / "config").write_text("\n".join(lines) + "\n")
        Path("/run/sshd").mkdir(exist_ok=True)
        subprocess.run(["/usr/sbin/sshd", "-f", self.root / "config", "-E", self.root / "log"], check=True)
        wait_until(lambda: port_open(self.port), seconds=10, what="sshd to listen")

    def signal_all(self, number: signal.Signals, *, listener: bool = True) -> None:
        """Send a signal to the server's sessions, and to the listener itself."""
        pid = self.daemon.pid
        if pid is None:
            return
        for one in ([pid] if listener else []) + [p for p in children(pid) if _is_sshd(p)]:
            with suppress(ProcessLookupError):
                os.kill(one, number)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        pid = self.daemon.pid
        below = children(pid) if pid else []
        self.signal_all(signal.SIGCONT)
        self.daemon.stop()
        for one in below:
            with suppress(ProcessLookupError):
                os.kill(one, signal.SIGKILL)
            wait_until(lambda one=one: process_gone(one), seconds=5, what="a session to end")  # type: ignore[misc]
        shutil.rmtree(self.root, ignore_errors=True)


def keygen(kind: str, path: Path) -> None:
    """Make a key pair without a passphrase."""
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "test", "-f", path], check=True)


def _is_sshd(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text() == "sshd\n"
    return False
