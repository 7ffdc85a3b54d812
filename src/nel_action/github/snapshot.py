"""An invocation small enough for a check run: so that any runner, with an empty disk, can take it up.

The check's `external_id` holds the invocation's id and a digest; its text holds the files that say what was run.
Neither holds a secret, because the files hold names of variables only.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import hashlib
import io
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from nel_action.errors import ResultsError
from nel_action.files import write_atomically

__all__ = ["Snapshot", "read_snapshot", "take_snapshot"]

FILES: Final = ("invocation.json", "plan.json", "spec.yaml")
TEXT_LIMIT: Final = 60_000
"""Characters; a check's text may have 65,535."""
UNPACKED_LIMIT: Final = 8 * 1024 * 1024
"""Bytes."""
BLOCK: Final = re.compile(r"<!-- nel-action-state\n([A-Za-z0-9+/=\n]*)\n-->")


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """What a later process needs."""

    external_id: str
    """`<invocation>:<digest>`."""
    text: str
    """For the check's text; empty where it would not fit."""


def take_snapshot(run_dir: Path, invocation: str, facts: Mapping[str, Any]) -> Snapshot:
    """Pack a run directory's record.

    Args:
        run_dir: where the record lies.
        invocation: its id.
        facts: what else a later process must know (pull request, base, inputs); JSON.
    """
    files = {name: (run_dir / name).read_text() for name in FILES}
    data = json.dumps({"files": files, "facts": dict(facts)}, sort_keys=True).encode()
    packed = base64.encodebytes(gzip.compress(data, 9, mtime=0)).decode().strip()
    digest = hashlib.sha256(packed.encode()).hexdigest()[:32]
    text = f"<!-- nel-action-state\n{packed}\n-->"
    return Snapshot(external_id=f"{invocation}:{digest}", text=text if len(text) <= TEXT_LIMIT else "")


def read_snapshot(external_id: str, text: str, into: Path, *, base_dir: Path) -> dict[str, Any]:
    """Unpack a record into `into`; return the facts.

    Args:
        external_id: of the check run.
        text: of the check run.
        into: becomes the run directory.
        base_dir: where the spec's relative paths start on this machine.

    Raises:
        ResultsError: the text is not whole, or not what the digest speaks of.
    """
    invocation, _, digest = external_id.partition(":")
    match = BLOCK.search(text.replace("\r\n", "\n"))
    packed = match[1] if match else ""
    if hashlib.sha256(packed.encode()).hexdigest()[:32] != digest:
        msg = f"the state of invocation {invocation} in its check run is not whole"
        raise ResultsError(msg, hint="run the workflow again: its jobs are found by their keys")
    try:
        with gzip.open(io.BytesIO(base64.b64decode(packed))) as stream:
            data = json.loads(stream.read(UNPACKED_LIMIT))
        files, facts = data["files"], data["facts"]
        record = json.loads(files["invocation.json"]) | {"base_dir": str(base_dir)}
        files = {name: str(files[name]) for name in FILES} | {"invocation.json": json.dumps(record, indent=2)}
    except (binascii.Error, OSError, EOFError, ValueError, KeyError, TypeError) as error:
        msg = f"the state of invocation {invocation} in its check run cannot be read: {error}"
        raise ResultsError(msg) from error
    for name, content in files.items():
        write_atomically(into / name, content.encode())
    return dict(facts)
