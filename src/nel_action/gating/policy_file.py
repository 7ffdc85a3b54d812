"""A policy in a file of its own: what would stand under a spec's `gate:`."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import ValidationError

from nel_action.errors import Location, NotFoundError, Problem, SpecError
from nel_action.spec.policy import GatePolicy

__all__ = ["load_policy"]


def load_policy(path: Path) -> GatePolicy:
    """Read a policy file.

    Raises:
        NotFoundError: there is no such file.
        SpecError: it is not YAML, or no policy; all that is wrong is told.
    """
    import yaml

    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        msg = f"cannot read the policy {path}: {error.strerror or error}"
        raise NotFoundError(msg) from error
    try:
        data = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506 - both are safe
        return GatePolicy.model_validate_json(json.dumps(data))
    except (yaml.YAMLError, TypeError) as error:
        raise SpecError([Problem(f"this is not YAML: {error}", Location(path))]) from error
    except ValidationError as error:
        raise SpecError(
            [
                Problem(f"{'.'.join(map(str, details['loc']))}: {details['msg']}", Location(path))
                for details in error.errors()
            ]
        ) from error
