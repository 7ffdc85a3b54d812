"""The harness command of an attempt: bound to its paths, its endpoint, its variables and its auxiliary servers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import cast

from nel_action.executors.auxiliary import server_variables, spec_references, substitute_in_task, variable_prefix
from nel_action.executors.hooks import with_hooks
from nel_action.executors.local.attempt import AttemptError, JobRecord
from nel_action.executors.local.interface import HarnessPaths, Launch
from nel_action.executors.local.model_server.interface import server_digest, server_network
from nel_action.harnesses.interface import Binding, Command
from nel_action.model.job import Reason
from nel_action.planning.jobs import Job
from nel_action.spec.deployment import Deployment, ServedDeployment

__all__ = [
    "auxiliary_deployments",
    "auxiliary_records",
    "bind",
    "harness_network",
    "launch",
    "server_digests",
    "with_auxiliary_servers",
    "write_files",
]


def bind(job: Job, paths: HarnessPaths, url: str, *, own_port: int | None = None) -> Command:
    """Build the harness's command line.

    Args:
        job: the job.
        paths: directories as the harness sees them.
        url: URL of the model's route.
        own_port: port for a server of the harness itself, if it shares this machine's network with other programs.
    """
    from nel_action.harnesses.registry import harness

    binding = Binding(
        url=url,
        model_id=job.target.api_endpoint.model_id or "",
        output_dir=paths.artifacts,
        work_dir=paths.work,
        api_key_name=job.target.api_endpoint.api_key_name,
        task_dir=paths.task if job.task.task_dir else None,
        own_port=own_port,
    )
    command = harness(job.harness).command(job.task, binding)
    return with_hooks(replace(command, env={**_dataset_variables(job, paths), **command.env}), job)


def _dataset_variables(job: Job, paths: HarnessPaths) -> dict[str, str]:
    """Return the path of the data set: its mount point in a container, its path on this machine otherwise."""
    if job.dataset is None:
        return {}
    source, target = job.dataset
    return {"NEMO_EVALUATOR_DATASET_DIR": target if paths.mounted else source}


def write_files(command: Command, work: Path) -> None:
    """Write the command's files into the working directory.

    Raises:
        AttemptError: a file would be outside the directory.
    """
    for name, text in command.files.items():
        path = work / name
        if not path.resolve().is_relative_to(work.resolve()):
            detail = f"the command's file {name} is outside its working directory"
            raise AttemptError.failed(Reason.REJECTED, detail)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")


def launch(command: Command, values: Mapping[str, str]) -> Launch:
    """Add the values of variables, under the spec's names and under those that the harness reads.

    Raises:
        AttemptError: a variable that the harness reads has no value.
    """
    missing = sorted(set(command.secret_env.values()) - set(values))
    if missing:
        raise AttemptError.failed(Reason.REJECTED, f"variable {missing[0]} has no value where the job runs")
    renamed = {name: values[source] for name, source in command.secret_env.items()}
    return Launch(argv=command.argv, env={**command.env, **values, **renamed})


def auxiliary_deployments(job: Job) -> dict[str, ServedDeployment]:
    """Return the job's auxiliary model servers by name."""
    return {name: item for name, item in job.auxiliary.items() if isinstance(item, ServedDeployment)}


def auxiliary_records(record: JobRecord) -> dict[str, JobRecord]:
    """Return, for each auxiliary server, a record whose deployment is that server alone."""
    return {
        name: _record_for(record, name, deployment) for name, deployment in auxiliary_deployments(record.job).items()
    }


def _record_for(record: JobRecord, name: str, deployment: ServedDeployment) -> JobRecord:
    api = record.job.target.api_endpoint.model_copy(update={"model_id": deployment.served_model_name})
    job = replace(
        record.job,
        # NOTE: the digest of a server covers nothing but its deployment and model, so that jobs share it.
        deployment=cast("Deployment", deployment),
        target=record.job.target.model_copy(update={"api_endpoint": api}),
        auxiliary={},
    )
    mounts = record.settings.mounts
    server_mounts = mounts.model_copy(update={"deployment": mounts.auxiliary.get(name, {})})
    return replace(record, job=job, settings=record.settings.model_copy(update={"mounts": server_mounts}))


def server_digests(record: JobRecord) -> set[str]:
    """Return the digests of all model servers that a job needs."""
    records = [*auxiliary_records(record).values()]
    if isinstance(record.job.deployment, ServedDeployment):
        records.append(record)
    return {server_digest(item) for item in records}


def harness_network(record: JobRecord) -> str | None:
    """Return the network of the job's servers in containers; None if there is none."""
    networks = (server_network(item) for item in (record, *auxiliary_records(record).values()))
    return next((network for network in networks if network is not None), None)


def with_auxiliary_servers(job: Job, base_urls: Mapping[str, str]) -> tuple[Job, dict[str, str]]:
    """Pass the addresses of auxiliary servers to the harness.

    Args:
        job: the job.
        base_urls: name of a server → its base URL as the harness sees it.

    Returns:
        The job with its references replaced, and variables with the same information.
    """
    variables: dict[str, str] = {}
    references: dict[str, str] = {}
    for name, deployment in auxiliary_deployments(job).items():
        prefix = variable_prefix(name, deployment)
        server = server_variables(deployment, prefix, base_urls[name])
        variables |= server
        references |= spec_references(name, prefix, server)
    return replace(job, task=substitute_in_task(job.task, references)), variables
