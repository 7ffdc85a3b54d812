"""Ports of model servers in a job: the shell functions of `45_ports.sh`, with real sockets and processes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from tests.support.slurm.daemons import wait_until

from nel_action.executors.slurm.shell import template

pytestmark = pytest.mark.slow

JOB = "4711"

LISTEN = """\
import socket, sys, time
listener = socket.socket()
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
listener.bind(("127.0.0.1", int(sys.argv[1])))
listener.listen()
print("listening", flush=True)
time.sleep(600)
"""
"""A program that shares its port with others of the same user, as vLLM does."""

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture
def start() -> Iterator[Start]:
    """Yield a function that starts a process; all are killed afterwards."""
    processes: list[subprocess.Popen[str]] = []

    def start_process(*argv: str, **variables: str) -> subprocess.Popen[str]:
        env = {"PATH": os.environ["PATH"], **variables}
        process = subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, text=True, start_new_session=True)
        processes.append(process)
        return process

    yield start_process
    for process in processes:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


HIGHEST = 59_900


@pytest.fixture
def port() -> int:
    """Return a free port with free ones above it, below those that keepers wrap around."""
    while True:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            number = int(probe.getsockname()[1])
        if number < HIGHEST:
            return number


def listen(start: Start, port: int, **variables: str) -> subprocess.Popen[str]:
    """Start a listener and wait until it listens."""
    process = start(sys.executable, "-c", LISTEN, str(port), **variables)
    assert process.stdout is not None
    assert process.stdout.readline() == "listening\n"
    return process


def owner(port: int, server: str, record: Path) -> str:
    """Return who listens on a port, as the job with this server would see it."""
    script = f'{template("45_ports.sh")}\nport_owner "$@"'
    argv = ["bash", "-c", script, "owner", str(port), server, str(record), JOB]
    return subprocess.run(argv, capture_output=True, text=True, check=True).stdout.strip()


def keep(start: Start, first: int, mode: str = "", excluded: str = " ") -> subprocess.Popen[str]:
    """Start the keeper of a port."""
    script = f'{template("45_ports.sh")}\nkeep_port "$@"'
    return start("bash", "-c", script, "keep", str(first), mode, excluded, "mine", "/nonexistent", JOB)


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_port_owner_distinguishes_servers_by_their_variable(start: Start, port: int, tmp_path: Path) -> None:
    assert owner(port, "mine", tmp_path / "record") == "free"
    listen(start, port, NEL_SERVER_ID="mine")
    assert owner(port, "mine", tmp_path / "record") == "own"
    assert owner(port, "mine-too", tmp_path / "record") == "foreign"


def test_port_owner_recognises_a_server_by_its_recorded_process(start: Start, port: int, tmp_path: Path) -> None:
    """A server may overwrite its environment with a process title."""
    process = listen(start, port)
    (tmp_path / "record").write_text(f"{process.pid}\n")
    assert owner(port, "mine", tmp_path / "record") == "own"


def test_port_owner_recognises_children_of_a_server(start: Start, port: int, tmp_path: Path) -> None:
    script = f'env -u NEL_SERVER_ID "{sys.executable}" -c "$0" "$1" & wait'
    process = start("bash", "-c", script, LISTEN, str(port), NEL_SERVER_ID="mine")
    assert line(process) == "listening"
    assert owner(port, "mine", tmp_path / "record") == "own"


def test_port_owner_requires_all_listeners_to_be_own(start: Start, port: int, tmp_path: Path) -> None:
    """The kernel distributes connections among programs that share a port."""
    listen(start, port, NEL_SERVER_ID="mine")
    listen(start, port, NEL_SERVER_ID="of another job")
    assert owner(port, "mine", tmp_path / "record") == "foreign"


def test_keepers_of_one_node_choose_different_ports_before_anything_listens(start: Start, port: int) -> None:
    first, second = keep(start, port), keep(start, port)
    chosen = {line(first), line(second)}
    assert len(chosen) == 2
    assert f"port {port}" in chosen
    assert {line(first), line(second)} == {"free"}


@pytest.mark.parametrize("first", [20_000, 59_990, 60_001, 65_535, 81_471])
def test_keeper_chooses_distinct_ports_outside_the_ephemeral_range(start: Start, first: int) -> None:
    ports = {int(line(keep(start, first)).removeprefix("port ")) for _ in range(3)}
    assert len(ports) == 3
    assert all(20_000 <= each <= 60_000 for each in ports)


def test_keeper_skips_ports_in_use_and_excluded_ones(start: Start, port: int) -> None:
    listen(start, port)
    assert line(keep(start, port, excluded=f" {port + 1} ")) not in {f"port {port}", f"port {port + 1}"}


def test_keeper_of_a_fixed_port_waits_for_another_job(start: Start, port: int) -> None:
    first = keep(start, port, "fixed")
    assert line(first) == f"port {port}"
    second = keep(start, port, "fixed")
    assert line(second) == "locked"
    os.killpg(first.pid, 9)
    assert line(second) == f"port {port}"


def test_keeper_reports_a_fixed_port_that_another_program_uses(start: Start, port: int) -> None:
    listen(start, port)
    assert line(keep(start, port, "fixed")) == "taken"


def test_keeper_reports_own_and_foreign_listeners(start: Start, port: int) -> None:
    keeper = keep(start, port)
    assert [line(keeper), line(keeper)] == [f"port {port}", "free"]
    listen(start, port, NEL_SERVER_ID="mine")
    assert line(keeper) == "own"
    foreign = listen(start, port)
    assert line(keeper) == "foreign"
    os.killpg(foreign.pid, 9)
    assert line(keeper) == "own"


def test_keeper_exits_with_its_parent(start: Start, port: int) -> None:
    script = f'{template("45_ports.sh")}\n(exec bash -c "$(declare -f listeners belongs port_owner keep_port)'
    script += f"; echo \\$\\$; keep_port {port} '' ' ' mine /nonexistent {JOB}\") & wait"
    parent = start("bash", "-c", script)
    keeper = int(line(parent))
    os.kill(parent.pid, 9)
    parent.wait()
    wait_until(lambda: not Path(f"/proc/{keeper}").exists(), seconds=20, what="the keeper to exit")
