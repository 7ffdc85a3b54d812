"""`nel-action gateway`."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import click

from nel_action.errors import UsageError

__all__ = ["gateway"]


@click.command()
@click.option("--upstream", required=True, metavar="URL", help="URL of the endpoint's route.")
@click.option("--record", required=True, type=click.Path(path_type=Path), help="Directory of the record.")
@click.option("--port", type=click.IntRange(0, 65535), default=0, help="Port to listen on (default: any free one).")
@click.option("--api-key-name", metavar="NAME", help="Variable with the endpoint's API key.")
@click.option("--config", type=click.Path(path_type=Path), help="JSON file with further settings (docs/gateway.md).")
def gateway(*, upstream: str, record: Path, port: int, api_key_name: str | None, config: Path | None) -> int:
    """Serve a recording proxy for an endpoint until SIGTERM.

    Prints the URL to use instead of URL: the same path on 127.0.0.1; no token is asked. Each start is one pass over the
    record, which never closes: a client that repeats its requests receives the recorded answers.
    """
    from nel_action.gateway.__main__ import serve_until_signal
    from nel_action.gateway.config import ConfigError, load_config

    values = _read(config) if config is not None else {}
    values |= {"upstream": upstream, "record": str(record)} | ({"api_key_name": api_key_name} if api_key_name else {})
    try:
        settings = load_config(json.dumps(values))
        return asyncio.run(
            serve_until_signal(settings, host="127.0.0.1", port=port, started=lambda service: click.echo(service.url))
        )
    except ConfigError as error:
        raise UsageError(str(error)) from error
    except (OSError, ValueError) as error:
        msg = f"cannot serve {upstream} on {f'port {port}' if port else 'a free port'}: {error}"
        raise UsageError(msg, hint="check the URL, the port and the record's directory") from error


def _read(path: Path) -> dict[str, Any]:
    """Read a file with settings.

    Raises:
        UsageError: it cannot be read, or is no JSON object.
    """
    try:
        values = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        msg = f"cannot read {path}: {error}"
        raise UsageError(msg) from error
    if not isinstance(values, dict):
        msg = f"{path} contains no JSON object"
        raise UsageError(msg)
    return values
