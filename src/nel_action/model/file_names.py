"""File names of tasks, models and gates: an injective function and its inverse.

A name of letters, digits, `.`, `_`, `@` and `-` is its own file name. Every other character, and every character
that would make the file name ambiguous, hidden or reserved, becomes `_.<code point in hex>_`. The result is valid as a
file name on every system, as a part of a Slurm job name, and as the name of a workflow artifact.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

__all__ = ["MAX_FILE_NAME", "NAME_PATTERN", "file_name", "original_name", "unique_names"]

MAX_FILE_NAME: Final = 180
"""Characters; file systems accept 255 bytes, and prefixes and suffixes are added."""
NAME_PATTERN: Final = r"[A-Za-z0-9@_][A-Za-z0-9.@_-]*"
"""Regular expression that matches every result of `file_name`, and no path."""
RESERVED: Final = frozenset(
    {"samples", "logs", "artifacts", "record", "con", "prn", "aux", "nul"}
    | {f"{device}{number}" for device in ("com", "lpt") for number in range(10)}
    | {f"results.{suffix}" for suffix in ("json", "yml", "yaml")}
    | {f"{name}.json" for name in ("plan", "invocation", "gate", "report", "collected", "fingerprint")}
    | {"spec.yaml", "report.md", "report.html", "junit.xml", "run_all.sh", "supervisor.log"}
)
"""Lower-case names of other files in the same folder, or of devices."""
_ESCAPED: Final = re.compile(r"[^A-Za-z0-9._@-]|_(?=\.)|\A[.-]|\.\Z")
_ESCAPE: Final = re.compile(r"_\.([0-9a-f]+)_")


def file_name(name: str, *, at_sign: bool = True) -> str:
    """Return the file name of a name; different names have different file names.

    Args:
        name: any text.
        at_sign: whether `@` remains as it is; W&B does not accept it in names of artifacts.
    """
    if not at_sign:
        return file_name(name).replace("@", _escape("@"))
    if name.lower() in RESERVED:
        return _escape(name[0]) + _ESCAPED.sub(lambda match: _escape(match[0]), name[1:])
    return _ESCAPED.sub(lambda match: _escape(match[0]), name) or "_._"


def original_name(text: str) -> str:
    """Return the name that `file_name` returned this for."""
    return "" if text == "_._" else _ESCAPE.sub(lambda match: chr(int(match[1], 16)), text)


def _escape(character: str) -> str:
    return f"_.{ord(character):x}_"


def unique_names(names: Iterable[str]) -> list[str]:
    """Append a number to repeated names; names that differ in case only count as repeated."""
    used: set[str] = set()
    unique = []
    for name in names:
        candidate, number = name, 1
        while candidate.lower() in used:
            number += 1
            candidate = f"{name}.{number}"
        used.add(candidate.lower())
        unique.append(candidate)
    return unique
