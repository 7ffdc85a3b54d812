"""Serve one GGUF model with llama.cpp, with reproducible answers.

A stand-alone script: it runs in its own environment and imports only the standard library and `xllamacpp`.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
import sysconfig
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = ["main"]

SIGNALS = {signal.SIGINT, signal.SIGTERM}


def main(argv: Sequence[str]) -> int:
    """Serve until SIGINT or SIGTERM; return 2 if the model does not exist."""
    options = _parse(argv)
    model = options.model or Path(sysconfig.get_path("purelib"), options.package_file)
    if not model.is_file():
        print(f"no model at {model}", file=sys.stderr)  # noqa: T201 - the server's log
        return 2
    import xllamacpp  # type: ignore[import-not-found, unused-ignore]

    # NOTE: blocked before the server starts its threads, which inherit the mask: only this thread gets the signal.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    server = xllamacpp.Server(_params(xllamacpp.CommonParams(), model, options))
    print(f"serving {options.name} at {server.listening_address}", flush=True)  # noqa: T201
    signal.sigwait(SIGNALS)
    # NOTE: exits immediately; the library would wait for requests in progress.
    os._exit(0)


def _parse(argv: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--name", required=True, help="the model's name in requests")
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--model", type=Path, help="a GGUF file")
    source.add_argument("--package-file", help="a GGUF file inside site-packages")
    parser.add_argument("--context-size", type=int, default=8192)
    parser.add_argument("--slots", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="a field of CommonParams")
    return parser.parse_args(argv)


def _params(params: Any, model: Path, options: argparse.Namespace) -> Any:  # noqa: ANN401 - xllamacpp has no types
    params.model.path = str(model)
    params.model_alias = {options.name} if isinstance(params.model_alias, set) else options.name
    params.hostnames, params.port = [options.host], options.port
    params.n_ctx, params.n_parallel = options.context_size, options.slots
    params.cpuparams.n_threads = options.threads
    # NOTE: an answer must not depend on earlier requests, so no prompt is cached.
    params.cache_prompt = params.cache_idle_slots = False
    params.cache_ram_mib = 0
    params.fit_params = params.ui = params.endpoint_slots = False
    params.verbosity = 1
    for pair in options.set:
        _set(params, *pair.split("=", 1))
    return params


def _set(params: Any, name: str, text: str) -> None:  # noqa: ANN401
    """Set a field, converted to the type of its current value."""
    current = getattr(params, name, None)
    if not isinstance(current, bool | int | float | str):
        msg = f"--set {name}: not a field of CommonParams with a plain value"
        raise SystemExit(msg)
    value: object = text.lower() in {"1", "true", "yes", "on"} if isinstance(current, bool) else type(current)(text)
    setattr(params, name, value)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
