"""Tests of the executor registry, and of the built-in executors against the protocol."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from nel_action.errors import NotFoundError
from nel_action.executors.interface import Executor, ExecutorContext
from nel_action.executors.local.executor import LocalExecutor
from nel_action.executors.registry import BUILT_IN, open_executor
from nel_action.executors.slurm.executor import SlurmExecutor
from nel_action.spec.execution import LocalExecution

TYPED: list[type[Executor]] = [LocalExecutor, SlurmExecutor]
"""Makes the type checker compare these classes with the protocol."""


@pytest.mark.parametrize("reference", BUILT_IN.values())
def test_built_in_executors_have_every_method_of_the_protocol(reference: str) -> None:
    module, _, name = reference.partition(":")
    executor = getattr(import_module(module), name)
    methods = [method for method in vars(Executor) if not method.startswith("_")]
    assert [method for method in methods if not hasattr(executor, method)] == []


def test_open_executor_rejects_unknown_names_and_suggests_a_similar_one(tmp_path: Path) -> None:
    settings = LocalExecution.model_construct(type="slrum")  # type: ignore[arg-type]
    context = ExecutorContext(home=tmp_path, environ={}, base_dir=tmp_path)
    with pytest.raises(NotFoundError, match="did you mean 'slurm'"):
        open_executor(settings, context)
