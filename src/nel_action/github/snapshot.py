"""State of an invocation in its check run, so that a runner without the original disk can collect it.

The check's `external_id` contains the invocation and a digest; its text contains the files that describe the run. They
contain names of variables only, no secrets.
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
from nel_action.model.run_files import RunFiles

__all__ = ["Snapshot", "read_snapshot", "take_snapshot"]

FILES: Final = (RunFiles.INVOCATION, RunFiles.PLAN, RunFiles.SPEC)
TEXT_LIMIT: Final = 60_000
"""Characters; the text of a check run may have 65,535."""
UNPACKED_LIMIT: Final = 8 * 1024 * 1024
"""Bytes."""
BLOCK: Final = re.compile(r"<!-- nel-action-state\n([A-Za-z0-9+/=\n]*)\n-->")
"""The state in the text of a check run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The state, as it is stored in a check run."""

    external_id: str
    """`<invocation>:<digest>`."""
    text: str
    """Empty if the state is larger than `TEXT_LIMIT`."""


def take_snapshot(run_dir: Path, invocation: str, facts: Mapping[str, Any]) -> Snapshot:
    """Pack the description of a run.

    Args:
        run_dir: the run directory.
        invocation: id of the invocation.
        facts: further JSON data for a later process: event, rules, locations.
    """
    files = {name: (run_dir / name).read_text() for name in FILES}
    data = json.dumps({"files": files, "facts": dict(facts)}, sort_keys=True).encode()
    packed = base64.encodebytes(gzip.compress(data, 9, mtime=0)).decode().strip()
    text = f"<!-- nel-action-state\n{packed}\n-->"
    return Snapshot(external_id=f"{invocation}:{_digest(packed)}", text=text if len(text) <= TEXT_LIMIT else "")


def read_snapshot(external_id: str, text: str, into: Path, *, base_dir: Path) -> dict[str, Any]:
    """Unpack the description of a run.

    Args:
        external_id: of the check run.
        text: of the check run.
        into: becomes the run directory.
        base_dir: directory to which the spec's paths are relative on this machine.

    Returns:
        The facts.

    Raises:
        ResultsError: the text is incomplete, or does not match the digest.
    """
    invocation, _, digest = external_id.partition(":")
    match = BLOCK.search(text.replace("\r\n", "\n"))
    packed = match[1] if match else ""
    if _digest(packed) != digest:
        msg = f"the check run's state of invocation {invocation} is incomplete"
        raise ResultsError(msg, hint="run the workflow again; it finds the submitted jobs by their keys")
    try:
        with gzip.open(io.BytesIO(base64.b64decode(packed))) as stream:
            data = json.loads(stream.read(UNPACKED_LIMIT))
        files, facts = data["files"], data["facts"]
        record = json.loads(files[RunFiles.INVOCATION]) | {"base_dir": str(base_dir)}
        files = {name: str(files[name]) for name in FILES} | {RunFiles.INVOCATION: json.dumps(record, indent=2)}
    except (binascii.Error, OSError, EOFError, ValueError, KeyError, TypeError) as error:
        msg = f"the check run's state of invocation {invocation} cannot be read: {error}"
        raise ResultsError(msg) from error
    for name, content in files.items():
        write_atomically(into / name, content.encode())
    return dict(facts)


def _digest(packed: str) -> str:
    return hashlib.sha256(packed.encode()).hexdigest()[:32]
