"""Jobs for the cluster: small shell programs for the `command` harness."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from nel_action.model.env_ref import parse_references
from nel_action.model.job import Key
from nel_action.model.task import EndpointType, HarnessTask, Params
from nel_action.planning.jobs import Job
from nel_action.spec.deployment import NoDeployment
from nel_action.spec.target import ApiEndpoint, Target

__all__ = ["GOOD", "shell_job"]

GOOD = """\
echo "evaluating $NEL_MODEL_ID"
echo '{"scores": {"accuracy": {"value": 0.5}}, "n_items": 4}' > "$NEL_OUTPUT_DIR/scores.json"
"""
"""A program that succeeds immediately."""


def shell_job(folder: Path, text: str = GOOD, *, name: str = "quick", program: str = "bash", **fields: Any) -> Job:  # noqa: ANN401
    """Return a job whose harness is a shell script; its key is random unless given.

    Args:
        folder: receives the script in a folder of its own.
        text: the script.
        name: the task's name.
        program: the shell.
        fields: other fields of the job.
    """
    task_dir = folder / f"task-{os.urandom(4).hex()}"
    task_dir.mkdir()
    (task_dir / "run.sh").write_text(text)
    task = HarnessTask(
        name=name,
        display=name,
        endpoint_type=EndpointType.CHAT,
        params=Params(),
        task_dir=task_dir,
        command=(program, "{task_dir}/run.sh"),
    )
    plain: dict[str, Any] = {
        "key": Key(f"nel-{os.urandom(8).hex()}"),
        "pinned": True,
        "index": 0,
        "name": name,
        "task": task,
        "harness": "command",
        "model": "acme-7b",
        "target": Target(api_endpoint=ApiEndpoint(url="http://127.0.0.1:9/v1/chat/completions", model_id="acme-7b")),
        "deployment": NoDeployment(),
    }
    fields["env"] = parse_references(fields.get("env", {}))
    return Job(**(plain | fields))
