"""Further servers of a job on this machine, each seen as the server of a job of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import cast

from nel_action.executors.auxiliary import server_variables, spec_references, substitute_in_task, variable_prefix
from nel_action.executors.local.model_server.serving import server_digest, server_network
from nel_action.executors.local.record import JobRecord
from nel_action.planning.jobs import Job
from nel_action.spec.deployment import Deployment, ServedDeployment

__all__ = ["further_deployments", "further_records", "harness_network", "server_digests", "with_further"]


def further_deployments(job: Job) -> dict[str, ServedDeployment]:
    """Return the further servers by name."""
    return {name: one for name, one in job.auxiliary.items() if isinstance(one, ServedDeployment)}


def further_records(record: JobRecord) -> dict[str, JobRecord]:
    """Return for each further server the record of a job that has it, and it alone, as its deployment."""
    return {name: _record(record, name, one) for name, one in further_deployments(record.job).items()}


def _record(record: JobRecord, name: str, deployment: ServedDeployment) -> JobRecord:
    api = record.job.target.api_endpoint.model_copy(update={"model_id": deployment.served_model_name})
    job = replace(
        record.job,
        # NOTE: jobs of one server share it, whatever else they differ in
        deployment=cast("Deployment", deployment),
        target=record.job.target.model_copy(update={"api_endpoint": api}),
        auxiliary={},
    )
    mounts = record.settings.mounts
    own = mounts.model_copy(update={"deployment": mounts.auxiliary.get(name, {})})
    return replace(record, job=job, settings=record.settings.model_copy(update={"mounts": own}))


def server_digests(record: JobRecord) -> set[str]:
    """Return what tells each of the servers that a job needs from every other."""
    records = [*further_records(record).values()]
    if isinstance(record.job.deployment, ServedDeployment):
        records.append(record)
    return {server_digest(one) for one in records}


def harness_network(record: JobRecord) -> str | None:
    """Return the network on which the job's servers in containers are; None where it has none."""
    networks = (server_network(one) for one in (record, *further_records(record).values()))
    return next((network for network in networks if network is not None), None)


def with_further(job: Job, bases: Mapping[str, str]) -> tuple[Job, dict[str, str]]:
    """Tell the harness of the further servers.

    Args:
        job: the job.
        bases: where each server is, as the harness sees it.

    Returns:
        The job with references filled in, and the variables that say the same.
    """
    variables: dict[str, str] = {}
    known: dict[str, str] = {}
    for name, deployment in further_deployments(job).items():
        prefix = variable_prefix(name, deployment)
        told = server_variables(deployment, prefix, bases[name])
        variables |= told
        known |= spec_references(name, prefix, told)
    return replace(job, task=substitute_in_task(job.task, known)), variables
