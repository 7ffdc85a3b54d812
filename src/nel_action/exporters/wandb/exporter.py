"""Exporter to Weights & Biases."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec

from nel_action.errors import Problem
from nel_action.exporters.bundle import Bundle
from nel_action.exporters.credentials import read_secret
from nel_action.exporters.interface import ExportError, ExportOutcome, MissingExtraError, export_each
from nel_action.exporters.wandb.content import LogMode, WandbSettings, contents_of
from nel_action.exporters.wandb.session import DEFAULT_URL, Session

__all__ = ["WandbExporter"]


class WandbExporter:
    """Exports one run per job or invocation, identified by its key and updated in place."""

    name = "wandb"
    settings = WandbSettings

    def __init__(self, sleep: Callable[[float], None] = time.sleep) -> None:
        self._sleep = sleep

    def check(self, settings: WandbSettings, environ: Mapping[str, str]) -> Sequence[Problem]:
        """Return a problem if an API key is needed and not set.

        Raises:
            MissingExtraError: the wandb package is not installed.
        """
        if find_spec("wandb") is None:
            raise MissingExtraError(self.name, "the wandb package")
        if _offline(settings, environ) or _api_key(environ):
            return []
        return [
            Problem("WANDB_API_KEY is not set", hint="set it or WANDB_API_KEY_FILE, or set export.wandb.mode: offline")
        ]

    def export(self, bundle: Bundle, settings: WandbSettings, environ: Mapping[str, str]) -> ExportOutcome:
        """Export each run on its own, so that a failure affects one run only.

        Raises:
            ExportError: `run_id` is set although there are several runs.
        """
        if environ.get("WANDB_MODE") == "disabled" and settings.mode is None:
            return ExportOutcome(destination=self.name, notes=("WANDB_MODE is disabled; nothing was exported",))
        contents = list(contents_of(bundle, settings))
        if settings.run_id and settings.log_mode is LogMode.PER_TASK and len(contents) > 1:
            # NOTE: runs with the same id would overwrite each other.
            msg = f"export.wandb.run_id names one run, but there are {len(contents)}, one per task"
            raise ExportError(msg, hint="set export.wandb.log_mode: multi_task, or remove run_id")
        session = Session(settings, environ, api_key=None if _offline(settings, environ) else _api_key(environ))
        send = session.write_offline if _offline(settings, environ) else session.send_online
        calls = [(content.name, partial(send, content, bundle.run_dir)) for content in contents]
        return ExportOutcome(destination=self.name, items=export_each(calls, sleep=self._sleep))


def _offline(settings: WandbSettings, environ: Mapping[str, str]) -> bool:
    return (settings.mode or environ.get("WANDB_MODE")) in {"offline", "dryrun"}


def _api_key(environ: Mapping[str, str]) -> str | None:
    """Return the key from the environment, from a mounted file, or from the .netrc of `wandb login`."""
    from requests.utils import get_netrc_auth

    login = get_netrc_auth(environ.get("WANDB_BASE_URL") or DEFAULT_URL)
    return read_secret("WANDB_API_KEY", environ) or (login[1] if login else None)
