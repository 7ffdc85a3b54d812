"""Command line of the proxy.

gateway run --config FILE [--token-env NAME] [--file PATH ...] -- ARGV ...
    Start the proxy, then ARGV with the proxy's address in place of the placeholder; return the status of ARGV.
gateway serve --config FILE --address-file FILE [--host HOST] [--port N]
    Serve until SIGTERM; the address is written to the file.
"""

from __future__ import annotations

import argparse
import asyncio
import ctypes
import os
import secrets
import signal
import subprocess
import sys
from dataclasses import replace
from typing import Any, Mapping, Sequence

from nel_action.gateway.config import Config, ConfigError, load_config
from nel_action.gateway.counters import write_text
from nel_action.gateway.service import Service

__all__ = ["PLACEHOLDER", "STOPPED", "main"]

PLACEHOLDER = "nel-gateway.invalid"
"""Host name in the harness's command line that is replaced by the proxy's address; `.invalid` never resolves."""
_TOKEN = "NEL_ACTION_GATEWAY_TOKEN"  # noqa: S105 - the name of a variable
_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_PR_SET_PDEATHSIG = 1
_USAGE = 2
_NOT_STARTED = 127
"""Exit status of a shell for a program that cannot be started."""
STOPPED = {"budget": 121, "client_error": 122}
"""Exit status if the proxy stopped the harness, by reason."""
_GRACE = 10.0
"""Seconds for the harness to end before it is killed."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    parser = argparse.ArgumentParser(prog="gateway", description="Proxy between a harness and a model endpoint.")
    commands = parser.add_subparsers(dest="command", required=True)
    run = commands.add_parser("run", help="serve for the duration of one program")
    run.add_argument("--token-env", default="", help="variable in which the program finds its API key")
    run.add_argument("--file", action="append", default=[], help="file with the placeholder; repeatable")
    run.add_argument("argv", nargs=argparse.REMAINDER, help="-- PROGRAM [ARGUMENT ...]")
    serve = commands.add_parser("serve", help="serve until SIGTERM")
    serve.add_argument("--address-file", required=True, help="receives host:port")
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=int, default=0)
    for command in (run, serve):
        command.add_argument("--config", required=True, help="JSON file with the configuration")
    options = parser.parse_args(argv)
    try:
        with open(options.config, encoding="utf-8") as file:
            config = load_config(file.read())
        if options.command == "serve":
            return asyncio.run(_serve(config, options))
        program = options.argv[1:] if options.argv[:1] == ["--"] else options.argv
        if not program:
            parser.error("run needs a program after --")
        return asyncio.run(_run(config, options, program))
    except (ConfigError, OSError, ValueError) as error:
        sys.stderr.write(f"nel-action gateway: {error}\n")
        return _USAGE


async def serve_until_signal(config: Config, *, host: str, port: int, started: Any) -> int:  # noqa: ANN401 - callable
    """Serve until SIGTERM or SIGINT.

    Args:
        config: settings of the proxy.
        host: address to listen on.
        port: 0 for any free one.
        started: called with the service once it listens.

    Returns:
        The exit status.
    """
    stop = asyncio.Event()
    loop = asyncio.get_event_loop()
    async with Service(config, host=host, port=port) as service:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        started(service)
        await stop.wait()
    return 0


async def _serve(config: Config, options: argparse.Namespace) -> int:
    return await serve_until_signal(
        config,
        host=options.host,
        port=options.port,
        started=lambda service: write_text(options.address_file, service.address + "\n"),
    )


async def _run(config: Config, options: argparse.Namespace, program: list[str]) -> int:
    environ = dict(os.environ)
    os.environ[_TOKEN] = secrets.token_urlsafe(24)
    if options.token_env:
        config = replace(config, token_name=_TOKEN)
    async with Service(config) as service:
        environ = _child_environ(environ, config, options.token_env, service.address)
        for path in options.file:
            _fill_in(path, service.address)
        argv = [argument.replace(PLACEHOLDER, service.address) for argument in program]
        return await _run_child(argv, environ, service)


def _child_environ(environ: Mapping[str, str], config: Config, token_env: str, address: str) -> dict[str, str]:
    """Return the environment of the harness: the token in place of the endpoint's key, no proxy on the way to us."""
    child = {
        name: value.replace(PLACEHOLDER, address)
        for name, value in environ.items()
        if name not in (config.api_key_name, _TOKEN)
    }
    if token_env:
        child[token_env] = os.environ[_TOKEN]
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


def _start(argv: Sequence[str], environ: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start the harness such that it does not outlive this process, whatever happens to it."""
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def die_with_parent() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != parent:
            os._exit(128 + signal.SIGKILL)

    return subprocess.Popen(argv, env=dict(environ), preexec_fn=die_with_parent)  # noqa: PLW1509 - see the docstring


async def _run_child(argv: Sequence[str], environ: Mapping[str, str], service: Service) -> int:
    """Start the harness, forward signals to it and return its exit status; 128 + n if signal n killed it.

    Args:
        argv: the harness.
        environ: its environment.
        service: the proxy, which may stop before the harness ends; the status is then that of `STOPPED`.
    """
    loop = asyncio.get_event_loop()
    pending: list[signal.Signals] = []
    # NOTE: before the start, since a signal that arrives in between would stop this process alone.
    for number in _FORWARDED:
        loop.add_signal_handler(number, pending.append, number)
    try:
        child = _start(argv, environ)
    except OSError as error:
        sys.stderr.write(f"nel-action gateway: cannot start {argv[0]}: {error.strerror}\n")
        return _NOT_STARTED
    for number in _FORWARDED:
        loop.add_signal_handler(number, child.send_signal, number)
    for number in pending:
        child.send_signal(number)
    ended = asyncio.ensure_future(loop.run_in_executor(None, child.wait))
    stopped = asyncio.ensure_future(service.stopped.wait())
    await asyncio.wait((ended, stopped), return_when=asyncio.FIRST_COMPLETED)
    stopped.cancel()
    stop = service.proxy.stopped
    if stop is None:
        status = await ended
        return status if status >= 0 else 128 - status
    sys.stderr.write(f"nel-action gateway: {stop.detail}\n")
    child.terminate()
    await asyncio.wait((ended,), timeout=_GRACE)
    if not ended.done():
        child.kill()
        await ended
    return STOPPED[stop.reason]


if __name__ == "__main__":
    sys.exit(main())
