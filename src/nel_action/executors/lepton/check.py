"""Validation of a plan against the settings, the SDK's types and the workspace, before anything is created."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any, Final

from nel_action.errors import NelActionError, Problem, UsageError
from nel_action.executors.lepton.environment import RESERVED, Environment, SecretStore, reserved_name_problems
from nel_action.executors.lepton.lepton_job import LeptonJob
from nel_action.executors.lepton.model_server import ModelServer
from nel_action.executors.lepton.request_bodies import endpoint_body, endpoint_environment, job_body, job_environment
from nel_action.executors.lepton.workspace import LeptonWorkspace
from nel_action.spec.lepton import LeptonExecution

__all__ = ["check"]

SECRET_HINT: Final = (
    "create it on the dashboard or with `lep secret create`, or let nel-action create it: NAME: host:NAME"  # noqa: S105
)


def check(
    workspace: LeptonWorkspace,
    secrets: SecretStore,
    settings: LeptonExecution,
    jobs: Sequence[LeptonJob],
    environ: Mapping[str, str],
) -> list[Problem]:
    """Return all problems that can be detected without creating anything.

    Args:
        workspace: the workspace.
        secrets: its secrets.
        settings: the spec's `execution` section.
        jobs: the first attempts of the plan's jobs.
        environ: source of the values of `host:` variables.

    Returns:
        The problems, among them a failure to reach the workspace.
    """
    if find_spec("leptonai") is None:
        hint = "pip install 'nel-action[lepton]'"
        return [Problem("the executor lepton needs the leptonai package", hint=hint)]
    problems = [*_check_settings(settings, jobs), *_check_bodies(jobs)]
    try:
        state = workspace.info.workspace_state.value
        if state != "normal":
            problems.append(Problem(f"the workspace is {state}", hint="ask its administrators"))
        problems += _check_resources(workspace, settings, jobs)
        problems += _check_secrets(secrets, settings, jobs, environ)
    except NelActionError as error:
        problems += error.problems
    return list(dict.fromkeys(problems))


def _model_server(jobs: Sequence[LeptonJob]) -> ModelServer | None:
    return next((job.model_server for job in jobs if job.model_server), None)


def _check_settings(settings: LeptonExecution, jobs: Sequence[LeptonJob]) -> Iterator[Problem]:
    """Check what needs no request."""
    mounts = settings.lepton_platform.tasks.mounts
    for index, mount in enumerate(mounts):
        if not mount.source:
            hint = "add for example from: node-nfs:NAME; the dashboard lists the volumes under storage"
            yield Problem(f"execution.lepton_platform.tasks.mounts[{index}] names no volume", hint=hint)
    for lepton_job in jobs:
        job = lepton_job.job
        if job.image is None:
            yield Problem(f"{job.name}: no container image", hint="set container: to an image")
        if job.dataset and not lepton_job.sends_dataset and not mounts:
            hint = "move the data next to the spec, or mount the volume with the data (lepton_platform.tasks.mounts)"
            yield Problem(f"{job.name}: {job.dataset[0]} is not on a mounted volume", hint=hint)
    model_server = _model_server(jobs)
    if model_server is not None:
        yield from _check_model_server(model_server)


def _check_model_server(model_server: ModelServer) -> Iterator[Problem]:
    deployment, config, settings = model_server.deployment, model_server.config, model_server.settings
    yield from model_server.kind.check(deployment)
    if deployment.image is None:
        yield Problem("deployment.image is missing: the server's image")
    if deployment.pre_cmd and not settings.trust_commands:
        hint = "set execution.trust_commands: true to allow the spec's authors to run shell commands on Lepton"
        yield Problem("deployment.pre_cmd is a shell command, which needs execution.trust_commands", hint=hint)
    if deployment.type == "vllm_ray":
        hint = "use deployment vllm on a machine that is large enough, or execution slurm"
        yield Problem("deployment vllm_ray needs several machines; an endpoint on Lepton has one", hint=hint)
    if config.mounts.enabled and not (config.mounts.source or settings.lepton_platform.tasks.mounts):
        hint = "set deployment.lepton_config.mounts.from (node-nfs:NAME)"
        yield Problem("deployment.lepton_config.mounts names no volume", hint=hint)


def _environments(lepton_job: LeptonJob) -> Iterator[Environment]:
    """Yield the variables of a job and of its endpoint."""
    yield job_environment(lepton_job, 0, None)
    if lepton_job.model_server is not None:
        yield endpoint_environment("nel", lepton_job.model_server, 0, "")


def _check_bodies(jobs: Sequence[LeptonJob]) -> Iterator[Problem]:
    """Validate the request bodies with the SDK's types and rules."""
    from leptonai.api.v2.job_validation import validate_job_create
    from leptonai.api.v2.types.job import LeptonJob as JobModel

    for lepton_job in jobs:
        for environment in _environments(lepton_job):
            yield from reserved_name_problems([*environment.plain, *environment.references])
        try:
            environment = job_environment(lepton_job, 0, None)
            body = job_body(lepton_job, environment, invocation="0" * 16, node_group=None)
            validate_job_create(JobModel.model_validate(body))
        except UsageError as error:
            yield from error.problems
        except ValueError as error:
            # NOTE: reserved variables are already reported.
            if not RESERVED & {word.strip("'\" .") for word in str(error).split()}:
                yield Problem(f"{lepton_job.job.name}: Lepton would reject the job: {_one_line(error)}")
    model_server = _model_server(jobs)
    if model_server is not None:
        yield from _check_endpoint_body(model_server)


def _check_endpoint_body(model_server: ModelServer) -> Iterator[Problem]:
    from leptonai.api.v2.types.deployment import LeptonDeployment

    environment = endpoint_environment("nel", model_server, 0, "")
    body = endpoint_body("nel", model_server, environment, node_group=None, token="none")  # noqa: S106 - not used
    try:
        model = LeptonDeployment.model_validate(body)
    except ValueError as error:
        yield Problem(f"Lepton would reject the endpoint: {_one_line(error)}")
        return
    for name in _ignored_keys(body, model.model_dump(mode="json", by_alias=True)):
        hint = "remove it; the platform does not support this setting"
        yield Problem(f"Lepton endpoints have no setting {name.removeprefix('spec.')}", hint=hint)


def _ignored_keys(body: Any, parsed: Any, parent: str = "") -> Iterator[str]:  # noqa: ANN401 - JSON
    """Yield the paths of a body's keys that the SDK's type ignored, and the platform would not receive."""
    if isinstance(body, dict) and isinstance(parsed, dict):
        for name, value in body.items():
            if value is not None and name not in parsed:
                yield f"{parent}{name}"
            else:
                yield from _ignored_keys(value, parsed.get(name), f"{parent}{name}.")
    elif isinstance(body, list) and isinstance(parsed, list):
        for body_item, parsed_item in zip(body, parsed, strict=False):
            yield from _ignored_keys(body_item, parsed_item, parent)


def _one_line(error: ValueError) -> str:
    return " ".join(str(error).split())[:300]


def _check_resources(
    workspace: LeptonWorkspace, settings: LeptonExecution, jobs: Sequence[LeptonJob]
) -> Iterator[Problem]:
    """Check node groups, shapes and quota."""
    platform, tasks = settings.lepton_platform, settings.evaluation_tasks
    key = "execution.evaluation_tasks.resource_shape"
    yield from workspace.check_resources(platform.tasks.node_group, tasks.resource_shape, "job", key)
    model_server = _model_server(jobs)
    if model_server is not None:
        config, key = model_server.config, "deployment.lepton_config.resource_shape"
        yield from workspace.check_resources(platform.deployment.node_group, config.resource_shape, "deployment", key)


def _check_secrets(
    secrets: SecretStore, settings: LeptonExecution, jobs: Sequence[LeptonJob], environ: Mapping[str, str]
) -> Iterator[Problem]:
    """Check that referenced secrets exist, and that the variables to pass on are set."""
    existing = set(secrets.names())
    for name in settings.env_var_names:
        if name not in environ:
            yield Problem(f"the variable {name} is not set (execution.env_var_names)", hint=f"export {name}=…")
    for lepton_job in jobs:
        for environment in _environments(lepton_job):
            for variable, secret in environment.references.items():
                if secret not in environment.created_secrets and secret not in existing:
                    message = f"{variable}: the workspace has no secret '{secret or '?'}'"
                    yield Problem(message, hint=SECRET_HINT)
