"""A checkout whose spec runs small programs on a cluster, each of which records its executions."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field
from pathlib import Path

from tests.support.project import Project
from tests.support.slurm.cluster import Cluster
from tests.support.slurm.sshd import Sshd

__all__ = ["ClusterProject"]


@dataclass
class ClusterProject(Project):
    """The checkout with its jobs on a cluster: over SSH, or directly as on a login node."""

    cluster: Cluster = field(kw_only=True)
    sshd: Sshd | None = field(default=None, kw_only=True)
    secret: str = field(default="", kw_only=True)
    """Value of the variable `MADE_UP_KEY`, which every job receives and prints."""
    more: dict[str, object] = field(default_factory=dict, kw_only=True)
    """Additional execution settings."""
    home: Path | None = field(default=None, kw_only=True)
    """Another home directory."""

    def __post_init__(self) -> None:
        self.output = self.cluster.scratch / f"p-{os.urandom(3).hex()}"
        super().__post_init__()

    def write_spec(self, codes: dict[str, int] | None = None) -> None:
        execution: dict[str, object] = {"type": "slurm", "hostname": "localhost", "runtime": "none"}
        if self.sshd is not None:
            execution |= {"hostname": "127.0.0.1", "port": self.sshd.port, "username": self.sshd.user}
            execution |= {"known_hosts": self.sshd.known_hosts, "key_file": str(self.sshd.key)}
        execution |= {"output_dir": str(self.output), "partition": "main", "sbatch_extra_flags": {}, "max_resumes": 1}
        program = 'echo "key $MADE_UP_KEY"; exec python3 "$@"'
        tasks = []
        for task in self.tasks:
            argv = ["sh", "-c", program, "sh", "{task_dir}/program.py", task, str(self.seconds)]
            command = [*argv, str((codes or {}).get(task, 0))]
            tasks.append({"name": task, "harness": "command", "task_dir": "own", "command": command})
        spec = {
            "target": {"api_endpoint": {"url": "http://127.0.0.1:9/v1/chat/completions", "model_id": "tiny"}},
            "execution": execution | self.more,
            "env_vars": {"RAN": f"lit:{self.ran_file}"} | ({"MADE_UP_KEY": "host:MADE_UP_KEY"} if self.secret else {}),
            "evaluation": {"tasks": tasks},
        }
        (self.folder / "spec.yaml").write_text(json.dumps(spec))

    @property
    def ran_file(self) -> Path:
        return self.output.with_name(f"{self.output.name}-ran")

    @property
    def environ(self) -> dict[str, str]:
        own = {"SLURM_CONF": self.cluster.env["SLURM_CONF"]} if self.sshd is None else {}
        own |= {"NEL_ACTION_HOME": str(self.home)} if self.home is not None else {}
        return super().environ | own | ({"MADE_UP_KEY": self.secret} if self.secret else {})
