"""Jobs for the Lepton executor: real programs, run by the `command` harness in the double's containers."""

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

__all__ = ["Bench", "leaves", "served", "wait"]


def leaves(text: str = "", *, then: str = "") -> str:
    """Return a script that leaves a score and prints a text."""
    return f"""
import json, os, pathlib, sys, time
print({text!r}, flush=True)
out = pathlib.Path(os.environ["NEL_OUTPUT_DIR"])
{then}
(out / "scores.json").write_text(json.dumps({{"scores": {{"accuracy": {{"value": 0.5}}}}, "n_items": 4}}))
"""


def served(folder: Path, *, how: str = "good", **fields: Any) -> GenericDeployment:  # noqa: ANN401
    """Return a deployment of the tiny server of `model_server`."""
    program = Path(__file__).with_name("model_server.py")
    folder.mkdir(exist_ok=True)
    config = LeptonConfig(resource_shape="gpu.a10", **fields.pop("config", {}))
    defaults: dict[str, Any] = {
        "image": "img:server",
        "served_model_name": "tiny",
        "port": 41234,
        "command": (sys.executable, str(program), "{host}", "{port}", str(folder), how),
        "lepton_config": config,
    }
    return GenericDeployment(**(defaults | fields))


@dataclass
class Bench:
    """A workspace, and a folder of this machine's own."""

    root: Path
    environ: Mapping[str, str]
    double: LeptonDouble

    def executor(self, **settings: object) -> LeptonExecutor:
        """Return an executor such as another process would build."""
        tasks = {"work_dir": str(self.root / "containers"), "resource_shape": "cpu.small"}
        mine = {**tasks, **settings.pop("evaluation_tasks", {})}  # type: ignore[dict-item]
        here = ExecutorContext(home=self.root / "home", environ=self.environ, base_dir=self.root)
        return LeptonExecutor(LeptonExecution.model_validate({"evaluation_tasks": mine} | settings), here)

    def job(self, name: str, script: str, **fields: Any) -> Job:  # noqa: ANN401
        """Return a job in an image."""
        return job(name, script, **({"image": "img:1"} | fields))

    def run(self, *jobs: Job, executor: LeptonExecutor | None = None) -> dict[Key, JobStatus]:
        """Submit jobs and wait for their ends."""
        mine = executor or self.executor()
        return wait(mine, [mine.submit(each, 1, INVOCATION) for each in jobs])
