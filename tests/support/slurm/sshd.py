"""A real OpenSSH server on the loopback interface, with or without a cluster."""

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
    """Accepts one key for one user; starts on entry, stops with all its sessions on exit."""

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
        """The server's line for a known_hosts file."""
        return self.known_hosts_line("127.0.0.1", self.port)

    def known_hosts_line(self, host: str, port: int) -> str:
        """Return the server's known_hosts line for another address, such as that of a relay."""
        kind, key = (self.root / "host.pub").read_text().split()[:2]
        return f"[{host}]:{port} {kind} {key}\n"

    def change_host_key(self) -> None:
        """Replace the host key and restart the server."""
        self.daemon.stop()
        (self.root / "host").unlink()
        keygen("ed25519", self.root / "host")
        self.start()

    def start(self) -> None:
        """Start the server."""
        shutil.copy(f"{self.key}.pub", self.root / "authorized_keys")
        (self.root / "authorized_keys").chmod(0o644)
        configured = {option.split()[0] for option in self._options}
        # NOTE: of several values for an option, sshd uses the first.
        lines = [
            *self._options,
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
        ]
        lines += [] if "MaxSessions" in configured else ["MaxSessions 20"]
        (self.root / "config").write_text("\n".join(lines) + "\n")
        Path("/run/sshd").mkdir(exist_ok=True)
        subprocess.run(["/usr/sbin/sshd", "-f", self.root / "config", "-E", self.root / "log"], check=True)
        wait_until(lambda: port_open(self.port), seconds=10, what="sshd to listen")

    def signal_all(self, number: signal.Signals, *, listener: bool = True) -> None:
        """Send a signal to all sessions and, unless excluded, to the listener."""
        pid = self.daemon.pid
        if pid is None:
            return
        for each in ([pid] if listener else []) + [child for child in children(pid) if _is_sshd(child)]:
            with suppress(ProcessLookupError):
                os.kill(each, number)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        pid = self.daemon.pid
        sessions = children(pid) if pid else []
        self.signal_all(signal.SIGCONT)
        self.daemon.stop()
        for each in sessions:
            with suppress(ProcessLookupError):
                os.kill(each, signal.SIGKILL)
            wait_until(lambda pid=each: process_gone(pid), seconds=5, what="a session to exit")  # type: ignore[misc]
        shutil.rmtree(self.root, ignore_errors=True)


def keygen(kind: str, path: Path) -> None:
    """Generate a key pair without a passphrase."""
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "test", "-f", path], check=True)


def _is_sshd(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text() == "sshd\n"
    return False
