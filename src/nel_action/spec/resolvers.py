"""OmegaConf resolvers that the launcher's configs use."""

from __future__ import annotations

from typing import Any

__all__ = ["register_resolvers"]


def register_resolvers() -> None:
    """Make `${select_not_null:KEY,DEFAULT}` known, unless somebody has already."""
    from omegaconf import OmegaConf

    if not OmegaConf.has_resolver("select_not_null"):
        OmegaConf.register_new_resolver("select_not_null", _select_not_null)


def _select_not_null(key: str, default: Any, *, _root_: Any) -> Any:  # noqa: ANN401 - values of any type
    """Return the value of a key, or the default where it is missing or null."""
    from omegaconf import OmegaConf

    value = OmegaConf.select(_root_, key, throw_on_resolution_failure=False, throw_on_missing=False)
    return default if value is None else value
