"""Every executor that is named here is there, whole."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import pytest

from nel_action.errors import NotFoundError
from nel_action.executors.interface import Executor, Workspace
from nel_action.executors.local.executor import LocalExecutor
from nel_action.executors.registry import BUILT_IN, open_executor
from nel_action.executors.slurm.executor import SlurmExecutor
from nel_action.spec.execution import LocalExecution

BUILT: list[type[Executor]] = [LocalExecutor, SlurmExecutor]
"""The type checker holds each against the protocol."""


@pytest.mark.parametrize("reference", BUILT_IN.values())
def test_each_has_every_method_of_the_protocol(reference: str) -> None:
    module, _, name = reference.partition(":")
    executor = getattr(import_module(module), name)
    wanted = [method for method in vars(Executor) if not method.startswith("_")]
    assert [method for method in wanted if not hasattr(executor, method)] == []


def test_an_unknown_one_is_said_with_what_there_is(tmp_path: Path) -> None:
    settings = LocalExecution.model_construct(type="slrum")  # type: ignore[arg-type]
    workspace = Workspace(home=tmp_path, environ={}, base_dir=tmp_path)
    with pytest.raises(NotFoundError, match="did you mean 'slurm'"):
        open_executor(settings, workspace)
