"""Gate changes to language models on benchmark results.

The public names are those of `nel_action.api`; they are loaded when they are first used, so that
`import nel_action` costs nothing.
"""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
