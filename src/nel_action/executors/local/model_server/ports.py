"""Ports of model servers: reserved on this machine, and verified to belong to the server's own processes.

An answer on a port proves nothing: another job's server may have taken the port while this one was loading, or share it
(several servers set `SO_REUSEPORT`), and the evaluation would be answered by another model.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Final

from nel_action.executors.local.subprocesses import MARK
from nel_action.files import try_lock

__all__ = ["PortOwner", "ReservedPort", "free_port", "is_port_taken", "port_owner", "reserve_port"]

LISTEN: Final = "0A"
"""State of a listening socket in `/proc/net/tcp`."""

ANY_ADDRESSES: Final = frozenset({"0.0.0.0", "::"})  # noqa: S104 compared only


class PortOwner(Enum):
    """Who listens on a port."""

    FREE = "nobody"
    OWN = "the server's processes"
    FOREIGN = "another program"
    UNKNOWN = "unknown: this system does not report it"


@dataclass(slots=True)
class ReservedPort:
    """A port that no other process of this user reserves on this machine until it is released or this process exits."""

    number: int
    _descriptor: int | None = None

    def release(self) -> None:
        """Release the reservation; does nothing the second time."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None


def free_port(host: str, preferred: int) -> int:
    """Return `preferred`, or any free port of the address if it is 0 or taken."""
    if preferred and not is_port_taken(host, preferred):
        return preferred
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def reserve_port(host: str, preferred: int) -> ReservedPort:
    """Reserve `preferred`, or any free port of the address if it is 0, taken or reserved.

    Servers bind their port only after they have loaded their model, so a free port may be promised to another server.
    """
    port = preferred
    while True:
        port = free_port(host, port)
        descriptor = _lock(port)
        if descriptor is not None:
            return ReservedPort(port, descriptor)
        port = 0


def _lock(port: int) -> int | None:
    """Return a descriptor that holds the port's lock; None if another process holds it."""
    # NOTE: jobs of the Slurm executor lock the same files.
    directory = Path(tempfile.gettempdir() if sys.platform != "linux" else "/tmp")  # noqa: S108
    directory /= f"nel-action-ports-{os.getuid()}"
    directory.mkdir(mode=0o700, exist_ok=True)
    if directory.is_symlink() or directory.stat().st_uid != os.getuid():
        msg = f"{directory} belongs to another user; remove it"
        raise PermissionError(msg)
    return try_lock(directory / str(port))


def is_port_taken(host: str, port: int) -> bool:
    """Whether a port of the address cannot be bound."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return True
    return False


def port_owner(host: str, port: int, mark: str, session: int) -> PortOwner:
    """Return who listens on a port.

    Args:
        host: the address.
        port: the port.
        mark: value of the variable `MARK` in the environment of the server's processes.
        session: the server's session ID, for processes that have overwritten their environment.
    """
    if sys.platform != "linux":
        return PortOwner.UNKNOWN
    inodes = _listeners(host, port)
    if not inodes:
        return PortOwner.FREE
    owned = set(_owned(inodes, lambda pid: _belongs(pid, f"{MARK}={mark}".encode(), session)))
    # NOTE: all listeners have to be the server's, since the kernel distributes connections among several.
    return PortOwner.OWN if not (inodes - owned) & _listeners(host, port) else PortOwner.FOREIGN


def _listeners(host: str, port: int) -> set[str]:
    """Return the inodes of the sockets that accept connections to an address."""
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        with suppress(OSError):
            for line in Path(table).read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                address, _, number = fields[1].partition(":")
                if fields[3] == LISTEN and int(number, 16) == port and _address(address) in {host, *ANY_ADDRESSES}:
                    inodes.add(fields[9])
    return inodes


def _address(digits: str) -> str:
    """Convert the kernel's notation of an address: words of 32 bits in hexadecimal, in this machine's byte order."""
    parts = [int(digits[start : start + 8], 16).to_bytes(4, sys.byteorder) for start in range(0, len(digits), 8)]
    address = ipaddress.ip_address(b"".join(parts))
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return str(mapped or address)


def _owned(inodes: set[str], belongs: Callable[[int], bool]) -> Iterator[str]:
    """Yield the sockets that a process of the server has open."""
    sockets = {f"socket:[{inode}]": inode for inode in inodes}
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            with suppress(OSError):
                links = {str(link.readlink()) for link in (entry / "fd").iterdir()}
                if (held := links & sockets.keys()) and belongs(int(entry.name)):
                    yield from (sockets[link] for link in held)


def _belongs(pid: int, variable: bytes, session: int) -> bool:
    """Whether a process or one of its ancestors has the server's mark or is of its session."""
    while pid > 1:
        try:
            process = Path(f"/proc/{pid}")
            fields = (process / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
            if int(fields[3]) == session or variable in (process / "environ").read_bytes().split(b"\0"):
                return True
        except OSError:
            return False
        pid = int(fields[1])
    return False
