"""Logs of requests and responses as JSON Lines: for people who look for the cause of a bad score, without secrets."""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any, BinaryIO, Mapping, Sequence

__all__ = ["ExchangeLog"]

MAX_FILE = 16 * 1024 * 1024
"""Bytes of one log, which is collected with the results; later entries are left out."""
MAX_TEXT = 256 * 1024
"""Bytes of one body; the rest is left out."""
_REDACTED = "***"


class ExchangeLog:
    """Writes `requests.jsonl` and `responses.jsonl` into a directory.

    A failing disk never fails a request: the log ends, and standard error says why.
    """

    def __init__(self, directory: str, config: Mapping[str, Any], *, secrets: Sequence[str]) -> None:
        """Prepare; a file is created with its first entry.

        Args:
            directory: of the files.
            config: `requests` and `responses`: the number of entries at most, null for all; missing for no log.
                `failed`: whether responses with an error status are logged in any case.
            secrets: texts that are replaced.
        """
        self._directory = directory
        self._left: dict[str, int | None] = {
            name: config[name] for name in ("requests", "responses") if directory and name in config
        }
        self._failed = bool(directory and config.get("failed"))
        self.active = bool(self._left or self._failed)
        self._secrets = [secret for secret in secrets if secret]
        self._files: dict[str, BinaryIO] = {}
        self._ended: set[str] = set()

    def request(self, path: str, body: bytes) -> None:
        """Log a request as it is sent.

        Args:
            path: with the query.
            body: as sent.
        """
        if self._counts("requests"):
            self._write("requests", {"path": path, "body": self._body(body)})

    def response(self, path: str, status: int, body: bytes, *, replayed: bool, latency: float) -> None:
        """Log a response as the endpoint gave it.

        Args:
            path: of the request.
            status: HTTP status.
            body: as received.
            replayed: whether it comes from the record.
            latency: seconds.
        """
        failed = status >= 400  # noqa: PLR2004
        if (failed and self._failed) or self._counts("responses"):
            entry = {"path": path, "status": status, "latency": round(latency, 4), "replayed": replayed}
            self._write("responses", {**entry, "body": self._body(body)})

    def close(self) -> None:
        """Close the files."""
        for file in self._files.values():
            file.close()
        self._files.clear()
        self._ended.update(("requests", "responses"))

    def _counts(self, name: str) -> bool:
        if name not in self._left:
            return False
        left = self._left[name]
        if left is None:
            return True
        self._left[name] = max(0, left - 1)
        return left > 0

    def _body(self, body: bytes) -> Any:  # noqa: ANN401 - JSON
        text = body[:MAX_TEXT].decode("utf-8", "replace")
        for secret in self._secrets:
            text = text.replace(secret, _REDACTED)
        try:
            return json.loads(text)
        except (ValueError, RecursionError):
            return text

    def _write(self, name: str, entry: dict[str, Any]) -> None:
        if name in self._ended:
            return
        line = json.dumps({"time": round(time.time(), 3), **entry}, separators=(",", ":")) + "\n"
        for secret in self._secrets:
            line = line.replace(secret, _REDACTED)
        try:
            file = self._files.get(name) or self._open(name)
            if file.tell() + len(line) > MAX_FILE:
                self._end(name, f"it has reached its limit of {MAX_FILE} bytes")
                return
            file.write(line.encode("ascii"))
        except OSError as error:
            self._end(name, error.strerror or str(error))

    def _open(self, name: str) -> BinaryIO:
        os.makedirs(self._directory, mode=0o700, exist_ok=True)
        path = os.path.join(self._directory, name + ".jsonl")
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        self._files[name] = file = os.fdopen(descriptor, "wb", buffering=0)
        return file

    def _end(self, name: str, reason: str) -> None:
        self._ended.add(name)
        sys.stderr.write(f"nel-action gateway: the log {name}.jsonl ends here: {reason}\n")
