"""What an attempt runs: its harness's command, bound to where it runs, with the variables that it reads."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from nel_action.executors.hooks import with_hooks
from nel_action.executors.local.interface import Launch, Places
from nel_action.executors.local.record import AttemptError
from nel_action.harnesses.interface import Binding, Command
from nel_action.model.job import Reason
from nel_action.planning.jobs import Job

__all__ = ["bind", "launch", "write_files"]


def bind(job: Job, places: Places, url: str, *, own_port: int | None = None) -> Command:
    """Build the harness's command for those places and that route.

    Args:
        job: the job.
        places: where it finds its directories.
        url: of the route.
        own_port: a port for what the harness serves itself, where it shares this machine's network with others.
    """
    from nel_action.harnesses.registry import harness

    binding = Binding(
        url=url,
        model_id=job.target.api_endpoint.model_id or "",
        output_dir=places.artifacts,
        work_dir=places.work,
        api_key_name=job.target.api_endpoint.api_key_name,
        task_dir=places.task if job.task.task_dir else None,
        own_port=own_port,
    )
    command = harness(job.harness).command(job.task, binding)
    return with_hooks(replace(command, env={**_dataset(job, places), **command.env}), job)


def _dataset(job: Job, places: Places) -> dict[str, str]:
    """Say where the data lies: where it is mounted, or, without a container, where it is."""
    if job.dataset is None:
        return {}
    return {"NEMO_EVALUATOR_DATASET_DIR": job.dataset[1] if places.mounted else job.dataset[0]}


def write_files(command: Command, work: Path) -> None:
    """Write the command's files into the working directory, and nowhere else."""
    for name, text in command.files.items():
        path = work / name
        if not path.resolve().is_relative_to(work.resolve()):
            raise AttemptError.failed(Reason.REJECTED, f"the command's file {name} would lie outside its directory")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def launch(command: Command, values: Mapping[str, str]) -> Launch:
    """Add the values of variables, also under the names that the harness reads."""
    missing = sorted(set(command.secret_env.values()) - set(values))
    if missing:
        raise AttemptError.failed(Reason.REJECTED, f"variable {missing[0]} has no value where the job runs")
    renamed = {name: values[holder] for name, holder in command.secret_env.items()}
    return Launch(argv=command.argv, env={**command.env, **values, **renamed})
