"""Spec → Plan: a pure function of the spec, its context and the files that the spec names."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from nel_action.catalog.lookup import CatalogTask
from nel_action.errors import NotFoundError, Problem, SpecError
from nel_action.harnesses.interface import Harness
from nel_action.harnesses.registry import harness
from nel_action.model.env_ref import EnvRef
from nel_action.model.job import Key
from nel_action.model.task import EndpointType, HarnessTask
from nel_action.planning.checks import check_auxiliary, check_files, check_kind, check_targets, check_trust, homeless
from nel_action.planning.jobs import Context, Job, Plan
from nel_action.planning.keys import job_key
from nel_action.planning.task_resolution import Locate, asked_route, endpoint_type, find_task, merge, resolve_task
from nel_action.spec.auxiliary import AuxiliaryDeployment
from nel_action.spec.deployment import DeploymentBase, NoDeployment, ServedDeployment
from nel_action.spec.evaluation import Task
from nel_action.spec.model import Spec
from nel_action.spec.target import Target

__all__ = ["images", "make_plan", "spec_route"]

Served = TypeVar("Served", bound=DeploymentBase)


def nowhere(_path: Sequence[str | int]) -> None:
    """Stand for a spec that was not written in a file."""


def images(spec: Spec) -> tuple[str, ...]:
    """Return the images that the spec's tasks will run in, each once, for an executor to resolve."""
    if not uses_images(spec):
        return ()
    found = (_image(task, find_task(task, None, spec_route(spec, task))) for task in spec.evaluation.tasks)
    return tuple(dict.fromkeys(image for image in found if image))


def spec_route(spec: Spec, task: Task) -> EndpointType | None:
    """Return the route that a spec names for a task; with several targets, the first one's."""
    target = next(iter(spec.targets.values()), spec.target)
    return asked_route(task, target.api_endpoint, served=not isinstance(spec.deployment, NoDeployment))


def uses_images(spec: Spec) -> bool:
    """Tell whether harnesses run in containers there."""
    return getattr(spec.execution, "runtime", "docker") not in {"process", "none"}


def make_plan(spec: Spec, context: Context, *, base_dir: Path, locate: Locate = nowhere) -> Plan:
    """Work out every job of a spec: tasks × targets, in the order they were written.

    Args:
        spec: what the user wrote.
        context: what pins the model, and the digests of images.
        base_dir: folder that the spec's relative paths start from.
        locate: where each key was written, for messages.

    Raises:
        SpecError: everything that is wrong, at once.
    """
    maker = _Maker(spec, context, base_dir, locate)
    problems = [*check_targets(spec, maker.targets(), locate), *check_auxiliary(spec, locate)]
    if not spec.evaluation.tasks:
        problems.append(Problem("evaluation.tasks is empty: name at least one task", locate(("evaluation",))))
    jobs: list[Job] = []
    for index in range(len(spec.evaluation.tasks)):
        try:
            jobs += maker.jobs(index)
        except SpecError as error:
            problems += error.problems
    if problems:
        raise SpecError(list(dict.fromkeys(problems)))
    return Plan(spec=spec, context=context, jobs=_numbered(jobs))


@dataclass(frozen=True, slots=True)
class _Maker:
    """What making any of the jobs needs."""

    spec: Spec
    context: Context
    base_dir: Path
    locate: Locate

    def targets(self) -> dict[str, Target]:
        """Return each target by its label, with the model's name filled in from the deployment."""
        spec = self.spec
        served = getattr(spec.deployment, "served_model_name", None)
        named = dict(spec.targets) or {spec.target.api_endpoint.model_id or served or "": spec.target}
        return {
            label: _with_api(target, model_id=target.api_endpoint.model_id or served) for label, target in named.items()
        }

    def jobs(self, index: int) -> Iterator[Job]:
        """Make the jobs of one task, a job for each target."""
        task = self.spec.evaluation.tasks[index]
        place = self.locate(("evaluation", "tasks", index, "name"))
        entry = find_task(task, place, spec_route(self.spec, task))
        for label, target in self.targets().items():
            yield self._job(index, task, entry, label, target)

    def _job(self, index: int, task: Task, entry: CatalogTask | None, label: str, target: Target) -> Job:
        spec = self.spec
        kind = endpoint_type(task, entry, target.api_endpoint, served=not isinstance(spec.deployment, NoDeployment))
        resolved = _adapted(resolve_task(spec, index, entry, kind, base_dir=self.base_dir, locate=self.locate), target)
        program = self._program(index, task, entry)
        image, requirements = self._home(task, entry, program)
        self._check(index, entry, resolved, program, home=image or requirements)
        job = Job(
            key=Key(""),
            pinned=bool(target.revision or self.context.commit or self.context.salt or spec.execution.salt),
            index=0,
            name=_slug(f"{task.name}@{label}" if len(self.targets()) > 1 else task.name),
            task=resolved,
            harness=program.name,
            model=label,
            target=_with_api(target, type=kind),
            deployment=_with_variables(spec, spec.deployment),
            auxiliary=_auxiliary(spec),
            image=image,
            image_digest=self._digest(image, entry),
            requirements=str(requirements) if requirements else None,
            env=self._env(task, target),
            timeout=task.timeout or spec.execution.task_timeout,
            dataset=(str(self.base_dir / task.dataset_dir), task.dataset_mount_path) if task.dataset_dir else None,
            pre_cmd=task.pre_cmd or spec.evaluation.pre_cmd,
            post_cmd=task.post_cmd or spec.evaluation.post_cmd,
        )
        return replace(job, key=job_key(job, task, self.context, spec.execution.salt))

    def _program(self, index: int, task: Task, entry: CatalogTask | None) -> Harness:
        """Find who runs the task.

        Raises:
            SpecError: nobody of that name.
        """
        try:
            return harness(task.harness or (entry.adapter if entry else "nemo"))
        except NotFoundError as error:
            place = self.locate(("evaluation", "tasks", index, "harness"))
            raise SpecError([Problem(p.message, place, p.hint) for p in error.problems]) from None

    def _check(
        self, index: int, entry: CatalogTask | None, task: HarnessTask, program: Harness, *, home: str | Path | None
    ) -> None:
        """Look for everything that would keep the task from running.

        Raises:
            SpecError: there is something.
        """
        spec, place = self.spec, self.locate(("evaluation", "tasks", index, "name"))
        problems = [
            *check_kind(entry, task.endpoint_type.value, place),
            *check_files(spec, index, self.base_dir, self.locate),
            *check_trust(spec, index, self.locate),
            *(Problem(p.message, p.location or place, p.hint) for p in program.check(task)),
        ]
        if home is None and program.requirements is not None:
            problems.append(homeless(task.display, program.name, place, containers=uses_images(spec)))
        if problems:
            raise SpecError(problems)

    def _home(self, task: Task, entry: CatalogTask | None, program: Harness) -> tuple[str | None, Path | None]:
        """Return the image or the requirements that the harness lives in."""
        if uses_images(self.spec):
            return _image(task, entry), None
        if task.requirements:
            return None, self.base_dir / task.requirements
        # NOTE: the requirements of nemo-evaluator do not hold the benchmark itself; only its container does.
        return None, None if entry and program.name == "nemo" else program.requirements

    def _digest(self, image: str | None, entry: CatalogTask | None) -> str | None:
        if image is None:
            return None
        if "@" in image:
            return image.partition("@")[2]
        known = entry.digest if entry and entry.container == image else None
        return self.context.digests.get(image) or known

    def _env(self, task: Task, target: Target) -> dict[str, EnvRef]:
        merged = {**self.spec.env_vars, **self.spec.evaluation.env_vars, **task.env_vars}
        name = target.api_endpoint.api_key_name
        there = name in self.spec.execution.variables_there
        if not name:
            return merged
        return {name: EnvRef.runtime(name) if there else EnvRef.host(name), **merged}


def _image(task: Task, entry: CatalogTask | None) -> str | None:
    return task.container or (entry.container if entry else None)


def _adapted(task: HarnessTask, target: Target) -> HarnessTask:
    """Pass the target's adapter configuration on, below what the task itself says of it."""
    adapter = target.api_endpoint.adapter_config
    if adapter is None:
        return task
    return replace(task, config=merge({"target": {"api_endpoint": {"adapter_config": adapter}}}, task.config))


def _with_variables(spec: Spec, deployment: Served) -> Served:
    """Return the deployment with the variables that the spec gives to everything; its own come first."""
    if not isinstance(deployment, ServedDeployment) or not spec.env_vars:
        return deployment
    return deployment.model_copy(update={"env_vars": {**spec.env_vars, **deployment.env_vars}})


def _auxiliary(spec: Spec) -> dict[str, AuxiliaryDeployment]:
    """Return the further servers that serve anything."""
    found = {name: one for name, one in spec.auxiliary_deployments.items() if not isinstance(one, NoDeployment)}
    return {name: _with_variables(spec, one) for name, one in found.items()}


def _with_api(target: Target, **fields: object) -> Target:
    """Return the target with fields of its endpoint filled in."""
    return target.model_copy(update={"api_endpoint": target.api_endpoint.model_copy(update=fields)})


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9._@-]+", "_", text).strip("._") or "task"


def _numbered(jobs: Sequence[Job]) -> tuple[Job, ...]:
    """Number the jobs, and make their names unique."""
    seen: dict[str, int] = {}
    out = []
    for index, job in enumerate(jobs):
        seen[job.name] = seen.get(job.name, 0) + 1
        count = seen[job.name]
        out.append(replace(job, index=index, name=job.name if count == 1 else f"{job.name}.{count}"))
    return tuple(out)
