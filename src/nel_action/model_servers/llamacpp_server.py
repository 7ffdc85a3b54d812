"""Serve one GGUF model by llama.cpp, with answers that can be repeated. Needs `xllamacpp` and nothing else.

Runs in an environment of its own, far from nel-action: it imports only the standard library and `xllamacpp`.
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


def main(words: Sequence[str]) -> int:
    """Serve until a signal comes."""
    options = _options(words)
    model = options.model or Path(sysconfig.get_path("purelib"), options.package_file)
    if not model.is_file():
        print(f"no model at {model}", file=sys.stderr)  # noqa: T201 - what the server's log is for
        return 2
    import xllamacpp  # type: ignore[import-not-found, unused-ignore]

    # NOTE: blocked before the server's threads start, so that they inherit it and this one gets the signal.
    signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    server = xllamacpp.Server(_params(xllamacpp.CommonParams(), model, options))
    print(f"serving {options.name} at {server.listening_address}", flush=True)  # noqa: T201
    signal.sigwait(SIGNALS)
    # NOTE: at once; the library would wait for requests that are still being answered.
    os._exit(0)


def _options(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--name", required=True, help="the model's name in requests")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--model", type=Path, help="a GGUF file")
    which.add_argument("--package-file", help="a GGUF file inside site-packages")
    parser.add_argument("--context-size", type=int, default=8192)
    parser.add_argument("--slots", type=int, default=1)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--set", action="append", default=[], metavar="NAME=VALUE", help="one of CommonParams")
    return parser.parse_args(words)


def _params(params: Any, model: Path, options: argparse.Namespace) -> Any:  # noqa: ANN401 - xllamacpp has no types
    params.model.path = str(model)
    params.model_alias = {options.name} if isinstance(params.model_alias, set) else options.name
    params.hostnames, params.port = [options.host], options.port
    params.n_ctx, params.n_parallel = options.context_size, options.slots
    params.cpuparams.n_threads = options.threads
    # NOTE: an answer must not depend on what was asked before: nothing is kept from one prompt for the next.
    params.cache_prompt = params.cache_idle_slots = False
    params.cache_ram_mib = 0
    params.fit_params = params.ui = params.endpoint_slots = False
    params.verbosity = 1
    for pair in options.set:
        _set(params, *pair.split("=", 1))
    return params


def _set(params: Any, name: str, text: str) -> None:  # noqa: ANN401
    """Set one value, of the kind that is there."""
    there = getattr(params, name, None)
    if not isinstance(there, bool | int | float | str):
        msg = f"{name} is no plain setting of llama.cpp"
        raise SystemExit(msg)
    value: object = text.lower() in {"1", "true", "yes", "on"} if isinstance(there, bool) else type(there)(text)
    setattr(params, name, value)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
