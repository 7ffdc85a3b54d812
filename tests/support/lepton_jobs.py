"""Jobs for the Lepton executor: real programs, run by the `command` harness in the containers of the double."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.doubles.lepton.server import LeptonDouble
from tests.support.local_jobs import INVOCATION, job, wait

from nel_action.executors.interface import ExecutorContext
from nel_action.executors.lepton.executor import LeptonExecutor
from nel_action.model.job import JobStatus, Key
from nel_action.planning.jobs import Job
from nel_action.spec.deployment import GenericDeployment
from nel_action.spec.lepton import LeptonConfig, LeptonExecution

__all__ = ["LeptonBench", "scoring_script", "tiny_deployment", "wait"]


def scoring_script(text: str = "", *, extra: str = "") -> str:
    """Return a Python script that prints `text`, runs `extra` and writes a score."""
    return f"""
import json, os, pathlib, sys, time
print({text!r}, flush=True)
out = pathlib.Path(os.environ["NEL_OUTPUT_DIR"])
{extra}
(out / "scores.json").write_text(json.dumps({{"scores": {{"accuracy": {{"value": 0.5}}}}, "n_items": 4}}))
"""


def tiny_deployment(directory: Path, *, behavior: str = "good", **fields: Any) -> GenericDeployment:  # noqa: ANN401
    """Return a deployment of the server in `model_server.py`.

    Args:
        directory: where the server records its starts.
        behavior: the server's last argument.
        **fields: fields of the deployment; `config` has those of its `lepton_config`.
    """
    program = Path(__file__).with_name("model_server.py")
    directory.mkdir(exist_ok=True)
    config = LeptonConfig(resource_shape="gpu.a10", **fields.pop("config", {}))
    defaults: dict[str, Any] = {
        "image": "img:server",
        "served_model_name": "tiny",
        "port": 41234,
        "command": (sys.executable, str(program), "{host}", "{port}", str(directory), behavior),
        "lepton_config": config,
    }
    return GenericDeployment(**(defaults | fields))


@dataclass
class LeptonBench:
    """A workspace of the double, and directories of this machine for executors."""

    root: Path
    environ: Mapping[str, str]
    double: LeptonDouble

    def executor(self, **settings: object) -> LeptonExecutor:
        """Return a new executor, which shares no state with earlier ones."""
        defaults = {"work_dir": str(self.root / "containers"), "resource_shape": "cpu.small"}
        tasks = {**defaults, **settings.pop("evaluation_tasks", {})}  # type: ignore[dict-item]
        context = ExecutorContext(home=self.root / "home", environ=self.environ, base_dir=self.root)
        return LeptonExecutor(LeptonExecution.model_validate({"evaluation_tasks": tasks} | settings), context)

    def job(self, name: str, script: str, **fields: Any) -> Job:  # noqa: ANN401
        """Return a job that runs a Python script in an image."""
        return job(name, script, **({"image": "img:1"} | fields))

    def run(self, *jobs: Job, executor: LeptonExecutor | None = None) -> dict[Key, JobStatus]:
        """Submit jobs and wait until they have finished."""
        executor = executor or self.executor()
        return wait(executor, [executor.submit(each, 1, INVOCATION) for each in jobs])
