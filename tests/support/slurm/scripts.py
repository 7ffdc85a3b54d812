"""What a shell and shellcheck say of a script."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

__all__ = ["shellcheck"]


def shellcheck(text: str, path: Path, *, dialect: str = "bash") -> str:
    """Write a script to `path`; return what is wrong with it, which is nothing where it is sound."""
    path.write_text(text)
    subprocess.run(["bash", "-n", path], check=True)
    words = [str(Path(sys.executable).with_name("shellcheck")), "--external-sources", f"--shell={dialect}", str(path)]
    return subprocess.run(words, capture_output=True, text=True, check=False).stdout
