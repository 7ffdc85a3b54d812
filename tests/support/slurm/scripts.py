"""Static checks of shell scripts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

__all__ = ["shellcheck"]


def shellcheck(text: str, path: Path, *, dialect: str = "bash") -> str:
    """Write a script to a file and return the warnings of shellcheck; empty if there are none.

    Args:
        text: the script.
        path: the file.
        dialect: the shell.
    """
    path.write_text(text)
    subprocess.run(["bash", "-n", path], check=True)
    argv = [str(Path(sys.executable).with_name("shellcheck")), "--external-sources", f"--shell={dialect}", str(path)]
    return subprocess.run(argv, capture_output=True, text=True, check=False).stdout
