"""All configs that NeMo Evaluator Launcher published, in the examples of every release and in its documentation.

`published.jsonl` contains their keys in the original order with invented values; values that determine how a config is
interpreted (groups, types, task names, numbers, references) are the original ones. Versions of a config that differ in
other values only share one line.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import yaml

from nel_action.cli.dry_run import show
from nel_action.errors import SpecError
from nel_action.lifecycle.loading import load
from nel_action.lifecycle.prepare import prepare
from nel_action.spec.compose import LoadedSpec

__all__ = ["Published", "dry_run", "load_filled", "published"]

FILE = Path(__file__).parents[1] / "spec" / "launcher" / "published.jsonl"
MISSING = "has no value yet (???)"


@dataclass(frozen=True)
class Published:
    """One config."""

    name: str
    releases: tuple[str, ...]
    """The first release of each version."""
    spec: Mapping[str, Any]

    @property
    def executor(self) -> str:
        """The executor type: `local`, `slurm` or `lepton`."""
        groups = [str(entry["execution"]) for entry in self.spec["defaults"] if "execution" in entry]
        return groups[0].partition("/")[0]

    def write(self, folder: Path) -> Path:
        """Write the config to a file."""
        file = folder / f"{self.name.rpartition('/')[2]}.yaml"
        file.write_text(yaml.safe_dump(dict(self.spec), sort_keys=False))
        return file


def published() -> Iterator[Published]:
    """Yield the configs, oldest first."""
    for line in FILE.read_text().splitlines():
        row = json.loads(line)
        yield Published(name=row["name"], releases=tuple(row["releases"]), spec=row["spec"])


def load_filled(file: Path, *overrides: str) -> LoadedSpec:
    """Load a config; missing values (`???`) are set by overrides, as its users set them.

    Raises:
        SpecError: the config has another problem.
    """
    try:
        return load(file, overrides=overrides)
    except SpecError as error:
        if not all(problem.message.endswith(MISSING) for problem in error.problems):
            raise
        keys = [problem.message.partition(" ")[0] for problem in error.problems]
    return load(file, overrides=[*overrides, *(f"{_dotted(key)}={_value(key)}" for key in keys)])


def _dotted(key: str) -> str:
    return key.replace("[", ".").replace("]", "")


def _value(key: str) -> str:
    if key.endswith("output_dir"):
        return "/shared/results"
    return "http://127.0.0.1:1/v1/chat/completions" if key.endswith("url") else "acme"


def dry_run(loaded: LoadedSpec, home: Path) -> str:
    """Do the same as `run --dry-run` and return its output."""
    output = StringIO()
    with redirect_stdout(output), prepare(loaded, home=home, environ={"USER": "me"}, resolve=False) as prepared:
        show(prepared, home)
    return output.getvalue()
