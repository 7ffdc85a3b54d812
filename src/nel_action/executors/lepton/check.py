"""What would keep a plan from running in a workspace, asked before anything is spent."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import Any

from nel_action.errors import NelActionError, Problem, UsageError
from nel_action.executors.lepton.environment import RESERVED, Environment, reserved_problems
from nel_action.executors.lepton.lepton_job import BoundJob
from nel_action.executors.lepton.model_server import Serving
from nel_action.executors.lepton.request_bodies import endpoint_body, endpoint_environment, job_body, job_environment
from nel_action.executors.lepton.secrets import Vault
from nel_action.executors.lepton.workspace import Workspace, unknown_keys
from nel_action.spec.lepton import LeptonExecution

__all__ = ["check"]

SECRET_HINT = "make it on the dashboard or with `lep secret create`, or let nel-action make one: NAME: host:NAME"  # noqa: S105


def check(
    workspace: Workspace,
    vault: Vault,
    settings: LeptonExecution,
    jobs: Sequence[BoundJob],
    environ: Any,  # noqa: ANN401
) -> list[Problem]:
    """Return everything that is wrong, as far as it can be seen.

    Raises:
        UnreachableError: the workspace does not answer.
    """
    if find_spec("leptonai") is None:
        hint = "pip install 'nel-action[lepton]'"
        return [Problem("the executor lepton needs the leptonai package", hint=hint)]
    found = [*_by_spec(settings, jobs), *_bodies(jobs)]
    try:
        state = workspace.info.workspace_state.value
        if state != "normal":
            found.append(Problem(f"the workspace is {state}", hint="ask its administrators"))
        found += _places(workspace, settings, jobs)
        found += _secrets(vault, settings, jobs, environ)
    except NelActionError as error:
        found += error.problems
    return list(dict.fromkeys(found))


def _by_spec(settings: LeptonExecution, jobs: Sequence[BoundJob]) -> Iterator[Problem]:
    """Find what needs no workspace."""
    mounts = settings.lepton_platform.tasks.mounts
    for at, mount in enumerate(mounts):
        if not mount.source:
            hint = "write for instance from: node-nfs:NAME; the dashboard lists volumes under storage"
            yield Problem(f"execution.lepton_platform.tasks.mounts[{at}] names no volume", hint=hint)
    for bound in jobs:
        if bound.job.image is None:
            yield Problem(f"{bound.job.name}: no image is known for it", hint="name its image with container:")
        if bound.job.dataset and not bound.sends_dataset and not mounts:
            hint = "put the data beside the spec, or mount the volume that has them (lepton_platform.tasks.mounts)"
            yield Problem(f"{bound.job.name}: {bound.job.dataset[0]} is on no mounted volume", hint=hint)
    served = next((bound.serving for bound in jobs if bound.serving), None)
    if served is not None:
        yield from _served(served)


def _served(serving: Serving) -> Iterator[Problem]:
    deployment, config = serving.deployment, serving.config
    yield from serving.kind.check(deployment)
    if deployment.image is None:
        yield Problem("deployment.image is missing: the server's image")
    if deployment.pre_cmd and not serving.settings.trust_commands:
        hint = "set execution.trust_commands: true if the spec's authors may run shell text there"
        yield Problem("deployment.pre_cmd is shell text, which is not run unless it is trusted", hint=hint)
    if deployment.type == "vllm_ray":
        hint = "use vllm on a machine that is large enough, or execution slurm"
        yield Problem("an endpoint on Lepton is one machine, and deployment vllm_ray spans several", hint=hint)
    if config.mounts.enabled and not (config.mounts.source or serving.settings.lepton_platform.tasks.mounts):
        hint = "write deployment.lepton_config.mounts.from (node-nfs:NAME)"
        yield Problem("deployment.lepton_config.mounts names no volume", hint=hint)


def _environments(bound: BoundJob) -> Iterator[Environment]:
    yield job_environment(bound, 0, None)
    if bound.serving is not None:
        yield endpoint_environment("nel", bound.serving, 0, "")


def _bodies(jobs: Sequence[BoundJob]) -> Iterator[Problem]:
    """Hold what would be sent against the SDK's own types and rules."""
    from leptonai.api.v2.job_validation import validate_job_create
    from leptonai.api.v2.types.deployment import LeptonDeployment
    from leptonai.api.v2.types.job import LeptonJob

    for bound in jobs:
        for environment in _environments(bound):
            yield from reserved_problems([*environment.plain, *environment.references])
        try:
            body = job_body(bound, job_environment(bound, 0, None), invocation="0" * 16, group=None)
            job = LeptonJob.model_validate(body)
            validate_job_create(job)
        except UsageError as error:
            yield from error.problems
        except ValueError as error:
            if not RESERVED & {part.strip("'\" .") for part in str(error).split()}:
                yield Problem(f"{bound.job.name}: Lepton would refuse the job: {_one_line(error)}")
    serving = next((bound.serving for bound in jobs if bound.serving), None)
    if serving is None:
        return
    environment = endpoint_environment("nel", serving, 0, "")
    body = endpoint_body("nel", serving, environment, group=None, token="none")  # noqa: S106 - nobody's
    try:
        model = LeptonDeployment.model_validate(body)
    except ValueError as error:
        yield Problem(f"Lepton would refuse the endpoint: {_one_line(error)}")
        return
    for name in unknown_keys(body, model.model_dump(mode="json", by_alias=True)):
        hint = "take it out; the platform has no such setting (any more)"
        yield Problem(f"Lepton's endpoints know no {name.removeprefix('spec.')}", hint=hint)


def _one_line(error: ValueError) -> str:
    return " ".join(str(error).split())[:300]


def _places(workspace: Workspace, settings: LeptonExecution, jobs: Sequence[BoundJob]) -> Iterator[Problem]:
    platform = settings.lepton_platform
    shape = settings.evaluation_tasks.resource_shape
    yield from workspace.check_place(
        platform.tasks.node_group, shape, "job", "execution.evaluation_tasks.resource_shape"
    )
    serving = next((bound.serving for bound in jobs if bound.serving), None)
    if serving is not None:
        yield from workspace.check_place(
            platform.deployment.node_group,
            serving.config.resource_shape,
            "deployment",
            "deployment.lepton_config.resource_shape",
        )


def _secrets(
    vault: Vault,
    settings: LeptonExecution,
    jobs: Sequence[BoundJob],
    environ: Any,  # noqa: ANN401 - a mapping
) -> Iterator[Problem]:
    """Look for the workspace's secrets that are referred to, and for the values of those that will be made."""
    there = set(vault.names())
    for name in settings.env_var_names:
        if name not in environ:
            yield Problem(f"the variable {name} is not set (execution.env_var_names)", hint=f"export {name}=…")
    for bound in jobs:
        for environment in _environments(bound):
            for variable, secret in environment.references.items():
                if secret not in environment.made and secret not in there:
                    message = f"the workspace has no secret '{secret or '?'}', which {variable} is taken from"
                    yield Problem(message, hint=SECRET_HINT)
