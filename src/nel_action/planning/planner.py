"""Planning: from a spec, its context and the files that it names to jobs with keys; a pure function."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from nel_action.catalog.lookup import CatalogTask
from nel_action.errors import NotFoundError, Problem, SpecError
from nel_action.harnesses.interface import Harness
from nel_action.harnesses.registry import harness
from nel_action.model.env_ref import EnvRef
from nel_action.model.file_names import file_name, unique_names
from nel_action.model.job import Key
from nel_action.model.task import EndpointType, HarnessTask
from nel_action.planning.adapter import adapter_steps
from nel_action.planning.checks import (
    check_auxiliary,
    check_endpoint_type,
    check_files,
    check_gateway,
    check_name,
    check_targets,
    check_trust,
    no_environment,
)
from nel_action.planning.fingerprint import IMAGE_DIGEST, task_fingerprint
from nel_action.planning.jobs import AdapterSteps, Context, Job, Plan
from nel_action.planning.keys import job_key
from nel_action.planning.shares import with_limits
from nel_action.planning.task_resolution import Locate, configured_route, endpoint_type, find_task, resolve_task
from nel_action.spec.auxiliary import AuxiliaryDeployment
from nel_action.spec.deployment import DeploymentBase, NoDeployment, ServedDeployment
from nel_action.spec.evaluation import Task
from nel_action.spec.gateway import merged_gateway
from nel_action.spec.model import Spec
from nel_action.spec.nested import get, merge
from nel_action.spec.target import Target

__all__ = ["images", "make_plan", "spec_route"]

Served = TypeVar("Served", bound=DeploymentBase)


def no_location(_path: Sequence[str | int]) -> None:
    """Return no source position, for a spec that does not come from a file."""


def images(spec: Spec) -> tuple[str, ...]:
    """Return the harness images of all tasks, without duplicates."""
    if not uses_images(spec):
        return ()
    references = (_image(task, find_task(task, None, spec_route(spec, task))) for task in spec.evaluation.tasks)
    return tuple(dict.fromkeys(reference for reference in references if reference))


def spec_route(spec: Spec, task: Task) -> EndpointType | None:
    """Return the endpoint type that a spec configures for a task; with several targets, that of the first one."""
    target = next(iter(spec.targets.values()), spec.target)
    return configured_route(task, target.api_endpoint, served=not isinstance(spec.deployment, NoDeployment))


def uses_images(spec: Spec) -> bool:
    """Return whether harnesses run in containers."""
    return getattr(spec.execution, "runtime", "docker") not in {"process", "none"}


def make_plan(spec: Spec, context: Context, *, base_dir: Path, locate: Locate = no_location) -> Plan:
    """Return the jobs of a spec: one per task and target, in the order of the spec.

    Args:
        spec: the spec.
        context: commit and repository that identify the model, and digests of images.
        base_dir: directory to which the spec's paths are relative.
        locate: maps a key to its source position, for messages.

    Raises:
        SpecError: the spec is invalid; the error lists all problems.
    """
    builder = _JobBuilder(spec, context, base_dir, locate)
    problems = [*check_targets(spec, builder.targets(), locate), *check_auxiliary(spec, locate)]
    if not spec.evaluation.tasks:
        problems.append(Problem("evaluation.tasks is empty: name at least one task", locate(("evaluation",))))
    jobs: list[tuple[Task, Job]] = []
    for index, task in enumerate(spec.evaluation.tasks):
        try:
            jobs += [(task, job) for job in builder.jobs(index)]
        except SpecError as error:
            problems += error.problems
    limited, share_problems = with_limits(spec, jobs, locate)
    problems += share_problems
    if problems:
        raise SpecError(list(dict.fromkeys(problems)))
    return Plan(spec=spec, context=context, jobs=_numbered(limited))


@dataclass(frozen=True, slots=True)
class _JobBuilder:
    """Builds the jobs of one spec."""

    spec: Spec
    context: Context
    base_dir: Path
    locate: Locate

    def targets(self) -> dict[str, Target]:
        """Return the targets by label; a missing `model_id` is taken from the deployment."""
        spec = self.spec
        served_name = getattr(spec.deployment, "served_model_name", None)
        targets = dict(spec.targets) or {spec.target.api_endpoint.model_id or served_name or "": spec.target}
        return {
            label: _with_api(target, model_id=target.api_endpoint.model_id or served_name)
            for label, target in targets.items()
        }

    def jobs(self, index: int) -> Iterator[Job]:
        """Yield one job per target for a task.

        Raises:
            SpecError: the task is invalid.
        """
        task = self.spec.evaluation.tasks[index]
        location = self.locate(("evaluation", "tasks", index, "name"))
        entry = find_task(task, location, spec_route(self.spec, task))
        for label, target in self.targets().items():
            yield self._job(index, task, entry, label, target)

    def _job(self, index: int, task: Task, entry: CatalogTask | None, label: str, target: Target) -> Job:
        spec = self.spec
        route = endpoint_type(task, entry, target.api_endpoint, served=not isinstance(spec.deployment, NoDeployment))
        resolved = resolve_task(spec, index, entry, route, base_dir=self.base_dir, locate=self.locate)
        resolved = _with_adapter(resolved, target)
        program = self._harness(index, task, entry)
        image, requirements = self._environment(task, entry, program)
        digest = self._image_digest(image, entry)
        gateway = merged_gateway((spec.gateway, task.gateway))
        problems = list(check_gateway(spec, index, resolved, target, self.locate)) if gateway.enabled else []
        adapter = AdapterSteps()
        if program.name != "nemo":
            resolved, adapter, adapter_problems = self._adapter(index, resolved, label, enabled=gateway.enabled)
            problems += adapter_problems
        self._check(index, entry, resolved, program, environment=image or requirements, problems=problems)
        job = Job(
            key=Key(""),
            pinned=self._is_pinned(target),
            index=0,
            name=file_name(f"{task.name}@{label}" if len(self.targets()) > 1 else task.name),
            task=resolved,
            harness=program.name,
            model=label,
            target=_with_api(target, type=route),
            deployment=_with_variables(spec, spec.deployment),
            auxiliary=_auxiliary(spec),
            image=image,
            image_digest=digest,
            requirements=str(requirements) if requirements else None,
            env=self._env(task, target),
            timeout=task.timeout or spec.execution.task_timeout,
            dataset=(str(self.base_dir / task.dataset_dir), task.dataset_mount_path) if task.dataset_dir else None,
            pre_cmd=task.pre_cmd or spec.evaluation.pre_cmd,
            post_cmd=task.post_cmd or spec.evaluation.post_cmd,
            gateway=gateway if gateway.enabled else None,
            adapter=adapter,
            fingerprint=task_fingerprint(spec, index, self.base_dir) | ({IMAGE_DIGEST: digest} if digest else {}),
        )
        return replace(job, key=job_key(job, task, self.context, spec.execution.salt))

    def _adapter(
        self, index: int, task: HarnessTask, label: str, *, enabled: bool
    ) -> tuple[HarnessTask, AdapterSteps, list[Problem]]:
        """Return the task without its adapter configuration, and the steps of the gateway in its place.

        Args:
            index: of the task.
            task: the task of a harness without an adapter of its own.
            label: of the target.
            enabled: whether the gateway is on.
        """
        target = task.config.get("target") or {}
        endpoint = target.get("api_endpoint") or {}
        config = endpoint.get("adapter_config")
        if not isinstance(config, Mapping):
            return task, AdapterSteps(), []
        remaining = {name: value for name, value in endpoint.items() if name != "adapter_config"}
        bare = replace(task, config={**task.config, "target": {**target, "api_endpoint": remaining}})
        if config and not enabled:
            problem = Problem("adapter_config has no effect without the gateway", hint="remove one of them")
            return bare, AdapterSteps(), [self._adapter_problem(index, label, next(iter(config)), problem)]
        steps, problems = adapter_steps(config, task.endpoint_type)
        return bare, steps, [self._adapter_problem(index, label, key, problem) for key, problem in problems]

    def _adapter_problem(self, index: int, label: str, key: str, problem: Problem) -> Problem:
        """Return a problem of an `adapter_config` with its source position; one of all tasks is the same for each.

        Args:
            index: of the task.
            label: of the target.
            key: that the problem concerns.
            problem: without a position.
        """
        spec, evaluation = self.spec, self.spec.evaluation
        inner = ("target", "api_endpoint", "adapter_config", key)
        task = evaluation.tasks[index]
        if get(task.nemo_evaluator_config, inner) is not None:
            location = self.locate(("evaluation", "tasks", index, "nemo_evaluator_config", *inner))
            return Problem(f"task {task.name}: {problem.message}", location, problem.hint)
        if get(evaluation.nemo_evaluator_config, inner) is not None:
            location = self.locate(("evaluation", "nemo_evaluator_config", *inner))
        else:
            location = self.locate((*(("targets", label) if spec.targets else ("target",)), *inner[1:]))
        return Problem(problem.message, location, problem.hint)

    def _is_pinned(self, target: Target) -> bool:
        """Return whether something identifies the model under test; a commit of other files does not."""
        context = self.context
        commit = context.commit if not context.modified else None
        return bool(target.revision or commit or context.salt or self.spec.execution.salt)

    def _harness(self, index: int, task: Task, entry: CatalogTask | None) -> Harness:
        """Return the harness of a task.

        Raises:
            SpecError: no harness has this name.
        """
        try:
            return harness(task.harness or (entry.adapter if entry else "nemo"))
        except NotFoundError as error:
            location = self.locate(("evaluation", "tasks", index, "harness"))
            raise SpecError([Problem(p.message, location, p.hint) for p in error.problems]) from None

    def _check(
        self,
        index: int,
        entry: CatalogTask | None,
        task: HarnessTask,
        program: Harness,
        *,
        environment: str | Path | None,
        problems: Sequence[Problem],
    ) -> None:
        """Check that a task can run.

        Raises:
            SpecError: it cannot.
        """
        spec, location = self.spec, self.locate(("evaluation", "tasks", index, "name"))
        problems = [
            *problems,
            *check_name(task.display, location),
            *check_endpoint_type(entry, task.endpoint_type.value, location),
            *check_files(spec, index, self.base_dir, self.locate),
            *check_trust(spec, index, self.locate),
            *(Problem(p.message, p.location or location, p.hint) for p in program.check(task)),
        ]
        if environment is None and program.requirements is not None:
            problems.append(no_environment(task.display, program.name, location, containers=uses_images(spec)))
        if problems:
            raise SpecError(problems)

    def _environment(self, task: Task, entry: CatalogTask | None, program: Harness) -> tuple[str | None, Path | None]:
        """Return the image or the requirements of the harness."""
        if uses_images(self.spec):
            return _image(task, entry), None
        if task.requirements:
            return None, self.base_dir / task.requirements
        # NOTE: the requirements of nemo-evaluator do not contain the benchmark itself; only its container does.
        return None, None if entry and program.name == "nemo" else program.requirements

    def _image_digest(self, image: str | None, entry: CatalogTask | None) -> str | None:
        if image is None:
            return None
        if "@" in image:
            return image.partition("@")[2]
        catalog_digest = entry.digest if entry and entry.container == image else None
        return self.context.digests.get(image) or catalog_digest

    def _env(self, task: Task, target: Target) -> dict[str, EnvRef]:
        merged = {**self.spec.env_vars, **self.spec.evaluation.env_vars, **task.env_vars}
        name = target.api_endpoint.api_key_name
        if not name:
            return merged
        at_runtime = name in self.spec.execution.runtime_variables
        return {name: EnvRef.runtime(name) if at_runtime else EnvRef.host(name), **merged}


def _image(task: Task, entry: CatalogTask | None) -> str | None:
    return task.container or (entry.container if entry else None)


def _with_adapter(task: HarnessTask, target: Target) -> HarnessTask:
    """Add the target's adapter configuration; the task's own takes precedence."""
    adapter = target.api_endpoint.adapter_config
    if adapter is None:
        return task
    return replace(task, config=merge({"target": {"api_endpoint": {"adapter_config": adapter}}}, dict(task.config)))


def _with_variables(spec: Spec, deployment: Served) -> Served:
    """Add the variables of the entire spec; the deployment's own take precedence."""
    if not isinstance(deployment, ServedDeployment) or not spec.env_vars:
        return deployment
    return deployment.model_copy(update={"env_vars": {**spec.env_vars, **deployment.env_vars}})


def _auxiliary(spec: Spec) -> dict[str, AuxiliaryDeployment]:
    return {
        name: _with_variables(spec, deployment)
        for name, deployment in spec.auxiliary_deployments.items()
        if not isinstance(deployment, NoDeployment)
    }


def _with_api(target: Target, **fields: object) -> Target:
    """Return the target with other fields of its endpoint."""
    return target.model_copy(update={"api_endpoint": target.api_endpoint.model_copy(update=fields)})


def _numbered(jobs: Sequence[Job]) -> tuple[Job, ...]:
    """Number the jobs, and append a number to repeated names."""
    names = unique_names(job.name for job in jobs)
    return tuple(
        replace(job, index=index, name=name) for index, (job, name) in enumerate(zip(jobs, names, strict=True))
    )
