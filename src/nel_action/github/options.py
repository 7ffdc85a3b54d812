"""Options of the action that the base sets for the changes into it: `.github/nel-action.yml`."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath
from typing import Final

from nel_action.github.base_revision import BaseTree, Present

__all__ = ["OPTIONS_FILE", "Options", "read_options"]

OPTIONS_FILE: Final = PurePosixPath(".github/nel-action.yml")


@dataclass(frozen=True, slots=True)
class Options:
    """Options of one commit."""

    new_gates: bool = False
    """Whether a change may introduce a gate with rules of its own: `new_gates: allow`."""
    bases: tuple[str, ...] = ()
    """Patterns of branches whose rules suffice for changes into them: `bases: [release/*]`."""

    def suffice(self, branch: str) -> bool:
        """Return whether the rules of a branch suffice for changes into it."""
        return any(fnmatchcase(branch, pattern) for pattern in self.bases)


def read_options(tree: BaseTree) -> Options:
    """Return the options of a commit; a file or a key that is not understood allows nothing.

    Raises:
        NelActionError: the file exists and cannot be read.
    """
    import yaml

    state = tree.find(OPTIONS_FILE)
    if not isinstance(state, Present):
        return Options()
    try:
        data = yaml.safe_load(tree.read([state.entry])[state.entry.path])
    except (yaml.YAMLError, RecursionError):
        return Options()
    if not isinstance(data, dict):
        return Options()
    bases = data.get("bases")
    names = bases if isinstance(bases, list) and all(isinstance(name, str) for name in bases) else []
    return Options(new_gates=data.get("new_gates") == "allow", bases=tuple(names))
