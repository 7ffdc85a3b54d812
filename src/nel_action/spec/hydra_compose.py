"""Composition by Hydra: whatever a `defaults` list or an override can say."""

from __future__ import annotations

import re
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from nel_action.errors import Location, Problem, SpecError
from nel_action.spec.introspection import known_below
from nel_action.spec.overrides import Override
from nel_action.spec.source_positions import Document, nearest
from nel_action.spec.yaml_loader import mark_location

__all__ = ["compose_with_hydra"]


def compose_with_hydra(document: Document, overrides: Sequence[Override]) -> dict[str, Any]:
    """Compose a file with its groups and overrides, before interpolation.

    Raises:
        SpecError: Hydra refuses; its first line says why.
    """
    # NOTE: Hydra takes a third of a second to import; most specs do without (see spec.plain_compose).
    from hydra import compose, initialize_config_dir
    from hydra.errors import HydraException
    from omegaconf import OmegaConf
    from omegaconf.errors import OmegaConfBaseException

    from nel_action.spec.resolvers import register_resolvers

    register_resolvers()
    with _config_folder(document.path) as (folder, name, search), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # about a missing _self_, which then comes last, as it should
        words = [*map(str, overrides), f"hydra.searchpath=[{','.join(search)}]"]
        try:
            with initialize_config_dir(str(folder), version_base=None):
                composed = compose(name, overrides=words)
        except (HydraException, OmegaConfBaseException) as error:
            raise SpecError([_problem(document, overrides, error)]) from None
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            file = Path(mark.name) if mark is not None else document.path
            raise SpecError([Problem("is not YAML", mark_location(file, mark))]) from None
        data = OmegaConf.to_container(composed, resolve=False)
    assert isinstance(data, dict)  # noqa: S101 - Hydra composes mappings
    return {str(key): value for key, value in data.items()}


@contextmanager
def _config_folder(path: Path) -> Iterator[tuple[Path, str, list[str]]]:
    """Yield the folder, the config's name in it, and the search path; odd file names get a plain copy."""
    groups = "pkg://nel_action.spec.groups"
    folder = path.parent.absolute()
    if path.suffix == ".yaml" and re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]*", path.stem):
        yield folder, path.stem, [groups]
        return
    with tempfile.TemporaryDirectory(prefix="nel-action-") as copy:
        shutil.copyfile(path, Path(copy, "spec.yaml"))
        quoted = str(folder).replace("\\", "\\\\").replace('"', '\\"')
        yield Path(copy), "spec", [f'"file://{quoted}"', groups]


def _problem(document: Document, overrides: Sequence[Override], error: Exception) -> Problem:
    """Say what Hydra says in one line, at the override or the file that it is about."""
    text = str(error).strip()
    unread = getattr(error, "override", None)  # of an OverrideParseException
    about = next((override for override in overrides if str(override) == unread or override.key in text), None)
    if about is not None and unread is not None and "Ambiguous" not in text:
        hint = f"put text with special characters in quotes: -o '{about.written}=\"…\"'"
        return Problem(f"cannot read the value of '{about.written}'", about.location, hint)
    if about is None:
        return Problem(text.splitlines()[0].rstrip("."), Location(document.path))
    if text.startswith("Could not override") and "No match in the defaults list" in text:
        hint = f"add it to the file: `defaults: [{about.key}: {about.value}, _self_]`"
        return Problem(f"the file's defaults list has no '{about.written}' to choose", about.location, hint)
    if text.startswith("Could not override"):
        near = nearest(str(about.loc[-1]), known_below(about.loc[:-1]))
        meant = ".".join([*map(str, about.loc[:-1]), near or ""])
        hint = f"did you mean '{meant}'?" if near else f"write -o +{about.written}=… to add it"
        return Problem(f"there is no '{about.written}' in the spec to override", about.location, hint)
    return Problem(text.splitlines()[0].rstrip("."), about.location)
