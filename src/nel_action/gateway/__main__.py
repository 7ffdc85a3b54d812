"""Command line of the proxy.

gateway run --config FILE [--token-env NAME ...] [--file PATH ...] [--clear DIR ... --earlier DIR] -- ARGV ...
    Start the proxy, then ARGV with the proxy's address in place of the placeholder; return the status of ARGV.
gateway serve --config FILE --address-file FILE [--host HOST] [--port N] [--seconds N]
    Serve until SIGTERM; the address and, on the next line, the process ID are written to the file.
gateway requests --record DIR [--failed]
    Print the entries of a job's records.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from dataclasses import replace
from typing import TYPE_CHECKING

from nel_action.gateway.config import Config, ConfigError, load_config
from nel_action.gateway.counters import write_text
from nel_action.gateway.runner import PLACEHOLDER, STOPPED, RunOptions, run

if TYPE_CHECKING:
    from typing import Callable, Sequence

    from nel_action.gateway.service import Service

__all__ = ["PLACEHOLDER", "STOPPED", "main", "serve_until_signal"]

_USAGE = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program and return its exit status."""
    parser = argparse.ArgumentParser(prog="gateway", description="Proxy between a harness and a model endpoint.")
    commands = parser.add_subparsers(dest="command", required=True)
    start = commands.add_parser("run", help="serve for the duration of one program")
    start.add_argument("--token-env", action="append", default=[], help="variable in which it finds its API key")
    start.add_argument("--file", action="append", default=[], help="file with the placeholder; repeatable")
    start.add_argument("--record", default="", help="directory of the record, instead of the configuration's")
    start.add_argument("--clear", action="append", default=[], help="directory to empty before each pass; repeatable")
    start.add_argument("--earlier", default="", help="directory that receives the content of emptied ones")
    start.add_argument("argv", nargs=argparse.REMAINDER, help="-- PROGRAM [ARGUMENT ...]")
    serve = commands.add_parser("serve", help="serve until SIGTERM")
    serve.add_argument("--address-file", required=True, help="receives host:port")
    serve.add_argument("--host", default="127.0.0.1")
    serve.add_argument("--port", type=int, default=0)
    serve.add_argument("--seconds", type=float, help="time after which it is not needed any more")
    listing = commands.add_parser("requests", help="print the entries of a job's records as JSON lines")
    listing.add_argument("--record", required=True, help="directory of the records of the job")
    listing.add_argument("--failed", action="store_true", help="only answers that no harness can use")
    for command in (start, serve):
        command.add_argument("--config", required=True, help="JSON file with the configuration")
    options = parser.parse_args(argv)
    try:
        if options.command == "requests":
            from nel_action.gateway.listing import record_lines

            for line in record_lines(options.record, failed=options.failed):
                sys.stdout.write(line + "\n")
            return 0
        with open(options.config, encoding="utf-8") as file:
            config = load_config(file.read())
        if options.command == "serve":
            import asyncio

            return asyncio.run(_serve(config, options))
        if options.record:
            config = replace(config, record=options.record)
        program = options.argv[1:] if options.argv[:1] == ["--"] else options.argv
        if not program:
            parser.error("run needs a program after --")
        if options.clear and not options.earlier:
            parser.error("--clear needs --earlier")
        return run(
            config,
            RunOptions(
                tokens=options.token_env,
                files=options.file,
                clear=options.clear,
                earlier=options.earlier,
                program=program,
            ),
        )
    except (ConfigError, OSError, ValueError) as error:
        sys.stderr.write(f"nel-action gateway: {error}\n")
        return _USAGE


async def serve_until_signal(
    config: Config, *, host: str, port: int, started: Callable[[Service], None], seconds: float | None = None
) -> int:
    """Serve until SIGTERM or SIGINT, or until no further request is sent (see `STOPPED`).

    Args:
        config: settings of the proxy.
        host: address to listen on.
        port: 0 for any free one.
        started: called with the service once it listens.
        seconds: after which it ends in any case.

    Returns:
        The exit status.
    """
    import asyncio

    from nel_action.gateway.service import Service

    stop = asyncio.Event()
    loop = asyncio.get_event_loop()
    async with Service(config, host=host, port=port) as service:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        started(service)
        waits = [asyncio.ensure_future(event.wait()) for event in (stop, service.stopped)]
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        for wait in waits:
            wait.cancel()
        reason = service.proxy.stopped
        if reason is not None:
            await service.drain()
    return 0 if reason is None else STOPPED[reason.reason]


async def _serve(config: Config, options: argparse.Namespace) -> int:
    return await serve_until_signal(
        config,
        host=options.host,
        port=options.port,
        started=lambda service: write_text(options.address_file, f"{service.address}\n{os.getpid()}\n"),
        seconds=options.seconds,
    )


if __name__ == "__main__":
    sys.exit(main())
