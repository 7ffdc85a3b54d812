"""From a file to a checked spec. This first loader reads plain YAML without groups or overrides."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nel_action.errors import Location, Problem, SpecError
from nel_action.spec.model import Spec

__all__ = ["LoadedSpec", "load_spec"]


@dataclass(frozen=True, slots=True)
class LoadedSpec:
    """A checked spec and where it came from."""

    spec: Spec
    source: Path
    base_dir: Path
    resolved: dict[str, Any]
    digest: str
    warnings: tuple[Problem, ...] = ()

    def locate(self, loc: Sequence[str | int]) -> Location:  # noqa: ARG002 - no places yet
        """Return the file."""
        return Location(self.source)


def load_spec(
    path: Path | None = None,
    *,
    config_dir: Path | None = None,  # noqa: ARG001
    config_name: str | None = None,  # noqa: ARG001
    overrides: Sequence[str] = (),  # noqa: ARG001
    environ: Mapping[str, str] = os.environ,  # noqa: ARG001
) -> LoadedSpec:
    """Load a spec.

    Raises:
        SpecError: it is wrong.
    """
    import yaml
    from pydantic import ValidationError

    if path is None:
        raise SpecError([Problem("name a spec file")])
    data = yaml.safe_load(path.read_text())
    data.pop("defaults", None)
    text = json.dumps(data, sort_keys=True)
    try:
        spec = Spec.model_validate_json(text)
    except ValidationError as error:
        raise SpecError([Problem(str(error), Location(path))]) from None
    return LoadedSpec(spec, path, path.absolute().parent, data, hashlib.sha256(text.encode()).hexdigest())
