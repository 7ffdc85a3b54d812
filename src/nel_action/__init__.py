"""Gate changes to language models on benchmark results.

The public names are those of `nel_action.api`. They are imported when they are first used, so that
`import nel_action` is fast.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from nel_action.version import __version__

if TYPE_CHECKING:
    from nel_action.api import export, gate, load_spec, plan, run, status, wait

__all__ = ["__version__", "export", "gate", "load_spec", "plan", "run", "status", "wait"]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - PEP 562
    if name in __all__:
        return getattr(import_module("nel_action.api"), name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
