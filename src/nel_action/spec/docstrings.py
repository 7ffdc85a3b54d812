"""The docstrings under the fields of a model, read from its source when somebody asks for a schema or a reference."""

from __future__ import annotations

import ast
import inspect
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import Annotated, get_args, get_origin

from pydantic import BaseModel

from nel_action.spec.limits import Limit

__all__ = ["field_docs"]


def field_docs(model: type[BaseModel]) -> dict[str, str]:
    """Return what stands under each field of a model and of those it derives from, on one line each."""
    docs: dict[str, str] = {}
    for part in reversed(model.__mro__):
        if issubclass(part, BaseModel) and part is not BaseModel:
            docs |= _of_class(Path(str(inspect.getsourcefile(part))), part.__name__)
    return _limit_docs(model) | docs


def _limit_docs(model: type[BaseModel]) -> dict[str, str]:
    """Return the descriptions of the fields that are annotated with a row of the table of limits."""
    return {
        name: item.description
        for name, field in model.model_fields.items()
        for argument in (field.annotation, *get_args(field.annotation))
        if get_origin(argument) is Annotated
        for item in get_args(argument)
        if isinstance(item, Limit)
    }


def _of_class(file: Path, name: str) -> dict[str, str]:
    return _of_file(file).get(name, {})


@cache
def _of_file(file: Path) -> dict[str, dict[str, str]]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.name: _of_body(node.body) for node in tree.body if isinstance(node, ast.ClassDef)}


def _of_body(body: list[ast.stmt]) -> dict[str, str]:
    found = {}
    for statement, following in pairwise(body):
        if not (isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name)):
            continue
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            found[statement.target.id] = " ".join(str(following.value.value).split())
    return found
