"""`gateway run`: a watchdog, below it the proxy, below it the harness.

    watchdog ──fork──▶ proxy ──spawn──▶ harness

Each process is killed when its parent is. If the proxy dies, the watchdog kills what is left of the harness and begins
another pass, which replays the answers that the record holds.

The proxy listens, starts the harness, and only then imports the rest of itself, while the harness starts: connections
wait meanwhile. Everything that this module imports delays each harness.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from nel_action.gateway.counters import write_text

if TYPE_CHECKING:
    from typing import Any, Iterator, Mapping, NoReturn, Sequence

    from nel_action.gateway.config import Config
    from nel_action.gateway.service import Service

__all__ = ["PLACEHOLDER", "STOPPED", "RunOptions", "run"]

PLACEHOLDER = "nel-gateway.invalid"
"""Host name in the harness's command line that is replaced by the proxy's address; `.invalid` never resolves."""
TOKEN = "NEL_ACTION_GATEWAY_TOKEN"  # noqa: S105 - the name of a variable
STOPPED = {"budget": 121, "client_error": 122}
"""Exit status if the proxy stopped the harness, by reason."""
_BACKLOG = 4096
RESTARTS = 3
"""New passes after the death of a proxy."""
_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_ENDING = frozenset((signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_USAGE = 2
_NOT_STARTED = 127
"""Exit status of a shell for a program that cannot be started."""
_GRACE = 10.0
"""Seconds for the harness to end before it is killed."""
_ORPHANS = 10.0
"""Seconds for killed processes to vanish."""
_LOST = 70
"""Exit status after the last restart."""
_FATAL = 128
"""Added to the number of the signal that killed a program."""


class RunOptions:
    """What `gateway run` was asked for."""

    def __init__(
        self, *, tokens: Sequence[str], files: Sequence[str], clear: Sequence[str], earlier: str, program: Sequence[str]
    ) -> None:
        """Store the options.

        Args:
            tokens: variables in which the harness finds a token as its API key.
            files: files with the placeholder.
            clear: directories whose content moves away before each pass.
            earlier: directory that receives it.
            program: command line of the harness.
        """
        self.tokens = list(tokens)
        self.files = list(files)
        self.clear = list(clear)
        self.earlier = earlier
        self.program = list(program)


def run(config: Config, options: RunOptions) -> int:
    """Run the harness behind a proxy; return its exit status, or die of the signal that killed it."""
    if options.tokens:
        os.environ[TOKEN] = os.urandom(24).hex()
        config = replace(config, token_name=TOKEN)
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)
    for number in range(RESTARTS + 1):
        move_earlier(options.clear, options.earlier)
        status, ending, death = _run_pass(config, options)
        # NOTE: after a normal end nothing is killed, as without a gateway: container engines clean up after themselves.
        if status is not None:
            return _exit_like(status)
        _kill_orphans()
        if ending is not None:
            return _exit_like(-ending)
        sys.stderr.write(f"nel-action gateway: the proxy died ({death}); its harness was stopped\n")
        if number < RESTARTS:
            sys.stderr.write(f"nel-action gateway: pass {number + 2} begins\n")
            sys.stderr.flush()
    sys.stderr.write(f"nel-action gateway: the proxy died {RESTARTS + 1} times\n")
    return _LOST


def move_earlier(directories: Sequence[str], earlier: str) -> None:
    """Move the content of directories to `<earlier>/<n>/<name of the directory>`, the next free n from 1.

    A harness that begins again would mix its new files with those of an interrupted pass.
    """
    target = ""
    for directory in directories:
        names = sorted(os.listdir(directory)) if os.path.isdir(directory) else []
        if not names:
            continue
        if not target:
            number = 1
            while os.path.exists(os.path.join(earlier, str(number))):
                number += 1
            target = os.path.join(earlier, str(number))
        folder = os.path.join(target, os.path.basename(os.path.normpath(directory)))
        os.makedirs(folder)
        for name in names:
            os.rename(os.path.join(directory, name), os.path.join(folder, name))


def _run_pass(config: Config, options: RunOptions) -> tuple[int | None, signal.Signals | None, str]:
    """Run one pass.

    Returns:
        Exit status of the harness, -n for signal n, None if the proxy died; the signal that asked to end, if any; how
        the proxy died.
    """
    reader, writer = os.pipe()
    forwarded = set(_FORWARDED)
    # NOTE: a signal between the fork and the installation of its handler would end one process of the two.
    signal.pthread_sigmask(signal.SIG_BLOCK, forwarded)
    parent = os.getpid()
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        os.close(reader)
        _proxy_process(config, options, writer, parent)
    os.close(writer)
    ending: list[signal.Signals] = []

    def forward(number: int, _frame: object) -> None:
        if number in _ENDING:
            ending.append(signal.Signals(number))
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    for number in _FORWARDED:
        signal.signal(number, forward)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, forwarded)
    state = _wait(pid)
    with os.fdopen(reader, "rb") as file:
        report = file.read()
    status = json.loads(report)["status"] if report else None
    return status, ending[-1] if ending else None, _describe(state)


def _wait(pid: int) -> int:
    """Wait for a child; reap every other process that became one."""
    while True:
        reaped, state = os.waitpid(-1, 0)
        if reaped == pid:
            return state


def _describe(state: int) -> str:
    if os.WIFSIGNALED(state):
        return f"signal {os.WTERMSIG(state)}"
    return f"exit status {os.WEXITSTATUS(state)}"


def _kill_orphans() -> None:
    """Kill what the harness of a dead proxy left behind: its processes became children of this one."""
    deadline = time.monotonic() + _ORPHANS
    while time.monotonic() < deadline:
        for pid in _children():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        try:
            reaped, _ = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if reaped == 0:
            time.sleep(0.01)


def _children() -> Iterator[int]:
    own = os.getpid()
    for name in os.listdir("/proc") if os.path.isdir("/proc") else ():
        if name.isdigit():
            with contextlib.suppress(OSError, ValueError, IndexError):
                with open(f"/proc/{name}/stat", encoding="utf-8", errors="replace") as file:
                    parent = int(file.read().rpartition(")")[2].split()[1])
                if parent == own:
                    yield int(name)


def _exit_like(status: int) -> int:
    """Return an exit status, or die of the same signal as the harness, such that the caller sees the cause."""
    if status >= 0:
        return status
    number = signal.Signals(-status)
    sys.stderr.flush()
    import resource

    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if number is not signal.SIGKILL:
            signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)
        time.sleep(1)
    return _FATAL - status


def _proxy_process(config: Config, options: RunOptions, writer: int, parent: int) -> NoReturn:
    """Serve as the proxy in the forked process; report the harness's status through a pipe."""
    code = 1
    try:
        _die_with(parent)
        os.setpgid(0, 0)  # NOTE: a signal to the watchdog's group arrives once, forwarded by it.
        status = _serve_harness(config, options)
        os.write(writer, json.dumps({"status": status}).encode())
        code = 0
    except (OSError, ValueError) as error:
        sys.stderr.write(f"nel-action gateway: {error}\n")
        os.write(writer, json.dumps({"status": _USAGE}).encode())
    finally:
        if code:
            sys.excepthook(*sys.exc_info())
        sys.stderr.flush()
        os._exit(code)


def _serve_harness(config: Config, options: RunOptions) -> int:
    """Start the harness, then serve it; return its exit status, -n if signal n killed it."""
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(_BACKLOG)
    address = "{}:{}".format(*listener.getsockname())
    environ = _child_environ(os.environ, config, options.tokens, address)
    for path in options.files:
        _fill_in(path, address)
    argv = [argument.replace(PLACEHOLDER, address) for argument in options.program]
    try:
        child = _start(argv, environ)
    except OSError as error:
        sys.stderr.write(f"nel-action gateway: cannot start {argv[0]}: {error.strerror}\n")
        return _NOT_STARTED
    import asyncio

    return asyncio.run(_serve(config, listener, child))


async def _serve(config: Config, listener: socket.socket, child: subprocess.Popen[bytes]) -> int:
    """Serve a harness that has started, and forward signals to it.

    Args:
        config: settings of the proxy.
        listener: the socket that the harness connects to.
        child: the harness.
    """
    import asyncio

    from nel_action.gateway.service import Service

    loop = asyncio.get_event_loop()
    for number in _FORWARDED:
        loop.add_signal_handler(number, child.send_signal, number)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, set(_FORWARDED))
    async with Service(config, listener=listener) as service:
        service.program["pid"] = child.pid
        service.program["status"] = status = await _wait_for_harness(child, service)
        return status


def _child_environ(environ: Mapping[str, str], config: Config, tokens: Sequence[str], address: str) -> dict[str, str]:
    """Return the environment of the harness: a token in place of the endpoint's key, no proxy on the way to us.

    Args:
        environ: of this process.
        config: names the variables of the key and the token.
        tokens: variables in which the harness finds the token.
        address: of the proxy.
    """
    child = {
        name: value.replace(PLACEHOLDER, address)
        for name, value in environ.items()
        if name not in (config.api_key_name, TOKEN)
    }
    for name in tokens:
        child[name] = environ[TOKEN]
    for name in ("NO_PROXY", "no_proxy"):
        hosts = [host for host in child.get(name, "").split(",") if host]
        child[name] = ",".join(dict.fromkeys([*hosts, "127.0.0.1", "localhost"]))
    return child


def _fill_in(path: str, address: str) -> None:
    """Replace the placeholder in a file; the original is kept, since each start has another address."""
    template = path + ".template"
    if not os.path.exists(template):
        os.rename(path, template)
    with open(template, encoding="utf-8") as file:
        text = file.read()
    write_text(path, text.replace(PLACEHOLDER, address))


async def _wait_for_harness(child: subprocess.Popen[bytes], service: Service) -> int:
    """Return the harness's status, or end it and return another one if the proxy stops first.

    Args:
        child: the harness.
        service: the proxy, which may stop before the harness has finished; the status is then that of `STOPPED`.
    """
    import asyncio

    ended = asyncio.ensure_future(asyncio.get_event_loop().run_in_executor(None, child.wait))
    stopped = asyncio.ensure_future(service.stopped.wait())
    await asyncio.wait((ended, stopped), return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    stop = service.proxy.stopped
    if stop is None:
        return await ended
    sys.stderr.write(f"nel-action gateway: {stop.detail}\n")
    child.terminate()
    await asyncio.wait((ended,), timeout=_GRACE)
    if not ended.done():
        child.kill()
        await ended
    await service.drain()
    return STOPPED[stop.reason]


def _start(argv: Sequence[str], environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start the harness such that it does not outlive this process, whatever happens to it."""
    parent = os.getpid()

    def prepare() -> None:
        _die_with(parent)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, set(_FORWARDED))

    return subprocess.Popen(argv, env=dict(environ), preexec_fn=prepare)  # noqa: PLW1509 - see the docstring


def _die_with(parent: int) -> None:
    """Ask the kernel to kill this process when its parent exits."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    # NOTE: the parent may have exited before the request took effect.
    if os.getppid() != parent:
        os._exit(_FATAL + signal.SIGKILL)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        libc: Any = ctypes.CDLL(None, use_errno=True)
        libc.prctl(option, value, 0, 0, 0)
