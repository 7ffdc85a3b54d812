"""Spec → Plan: a pure function of the spec, its context and the files that the spec names."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from nel_action.catalog.lookup import CatalogTask
from nel_action.errors import NotFoundError, Problem, SpecError
from nel_action.files import digest_tree
from nel_action.harness.interface import HarnessTask
from nel_action.harness.registry import harness
from nel_action.jobs import Context, Job, Key, Plan
from nel_action.resolve import Locate, endpoint_type, find_task, merge, resolve_task
from nel_action.spec.deployment import NoDeployment
from nel_action.spec.evaluation import Task
from nel_action.spec.model import Spec
from nel_action.spec.target import Target

__all__ = ["digest_key", "images", "make_plan"]


def nowhere(_path: Sequence[str | int]) -> None:
    """Stand for a spec that was not written in a file."""


def images(spec: Spec) -> tuple[str, ...]:
    """Return the images that the spec's tasks will run in, each once, for an executor to resolve."""
    if not uses_images(spec):
        return ()
    found = (_image(task, find_task(task, None)) for task in spec.evaluation.tasks)
    return tuple(dict.fromkeys(image for image in found if image))


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
    problems = [*maker.check_targets()]
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
            label: target.model_copy(
                update={
                    "api_endpoint": target.api_endpoint.model_copy(
                        update={"model_id": target.api_endpoint.model_id or served}
                    )
                }
            )
            for label, target in named.items()
        }

    def check_targets(self) -> Iterator[Problem]:
        """Say what each target lacks."""
        spec = self.spec
        served = not isinstance(spec.deployment, NoDeployment)
        if spec.targets and spec.target.model_fields_set:
            yield Problem("give either target or targets, not both", self.locate(("targets",)))
        if served and len(spec.targets) > 1:
            yield Problem("a deployment serves one model, but targets names several", self.locate(("targets",)))
        for label, target in self.targets().items():
            path = ("targets", label, "api_endpoint") if spec.targets else ("target", "api_endpoint")
            name = ".".join(path)
            if not target.api_endpoint.model_id:
                yield Problem(
                    f"{name}.model_id is missing: the model's name as the endpoint knows it", self.locate(path)
                )
            if not served and not target.api_endpoint.url:
                hint = "give the full URL of the route (https://host/v1/chat/completions), or a deployment"
                yield Problem(f"{name}.url is missing", self.locate(path), hint)

    def jobs(self, index: int) -> Iterator[Job]:
        """Make the jobs of one task, a job for each target."""
        task = self.spec.evaluation.tasks[index]
        place = self.locate(("evaluation", "tasks", index, "name"))
        entry = find_task(task, place)
        for label, target in self.targets().items():
            yield self._job(index, task, entry, label, target)

    def _job(self, index: int, task: Task, entry: CatalogTask | None, label: str, target: Target) -> Job:
        spec, place = self.spec, self.locate(("evaluation", "tasks", index, "name"))
        kind = endpoint_type(task, entry, target.api_endpoint, served=not isinstance(spec.deployment, NoDeployment))
        resolved = _adapted(resolve_task(spec, index, entry, kind, base_dir=self.base_dir, locate=self.locate), target)
        who = task.harness or (entry.adapter if entry else "nemo")
        found = [
            *_kind_problems(entry, kind.value, place),
            *self._files_problems(index, task),
            *self._trust_problems(index, task),
        ]
        try:
            program = harness(who)
        except NotFoundError as error:
            place = self.locate(("evaluation", "tasks", index, "harness"))
            raise SpecError([*found, *(Problem(p.message, place, p.hint) for p in error.problems)]) from None
        found += [Problem(p.message, p.location or place, p.hint) for p in program.check(resolved)]
        image, requirements = self._home(task, entry, who, program.requirements)
        if image is None and requirements is None and who != "command":
            found.append(_homeless(task.name, who, place, uses_images(spec)))
        if found:
            raise SpecError(found)
        api = target.api_endpoint.model_copy(update={"type": kind})
        several = len(self.targets()) > 1
        job = Job(
            key=Key(""),
            pinned=bool(target.revision or self.context.commit or self._salt()),
            index=0,
            name=_slug(f"{task.name}@{label}" if several else task.name),
            task=resolved,
            harness=who,
            model=label,
            target=target.model_copy(update={"api_endpoint": api}),
            deployment=spec.deployment,
            image=image,
            image_digest=self._digest(image, entry),
            requirements=str(requirements) if requirements and image is None else None,
            env=self._env(task, target),
            timeout=task.timeout or spec.execution.timeout,
            dataset=(str(self.base_dir / task.dataset_dir), task.dataset_mount_path) if task.dataset_dir else None,
            pre_cmd=task.pre_cmd or spec.evaluation.pre_cmd,
            post_cmd=task.post_cmd or spec.evaluation.post_cmd,
        )
        return replace(job, key=self._key(job))

    def _salt(self) -> str:
        return self.context.salt or self.spec.execution.salt

    def _files_problems(self, index: int, task: Task) -> Iterator[Problem]:
        for name, path, what in (
            ("task_dir", task.task_dir, Path.is_dir),
            ("dataset_dir", task.dataset_dir, Path.is_dir),
            ("requirements", task.requirements, Path.is_file),
        ):
            if name == "dataset_dir" and path and Path(path).is_absolute() and self.spec.execution.paths_elsewhere:
                continue
            if path and not what(self.base_dir / path):
                kind = "file" if name == "requirements" else "folder"
                place = self.locate(("evaluation", "tasks", index, name))
                yield Problem(f"{name}: no {kind} {path} beside the spec", place)

    def _trust_problems(self, index: int, task: Task) -> Iterator[Problem]:
        if self.spec.execution.trust_commands:
            return
        for owner, path in (
            (task, ("evaluation", "tasks", index)),
            (self.spec.evaluation, ("evaluation",)),
        ):
            for name in ("pre_cmd", "post_cmd"):
                if getattr(owner, name):
                    hint = "set execution.trust_commands: true if the spec's authors may run shell text here"
                    yield Problem(
                        f"{name} is shell text, which is not run unless it is trusted", self.locate((*path, name)), hint
                    )

    def _home(
        self, task: Task, entry: CatalogTask | None, who: str, own: Path | None
    ) -> tuple[str | None, Path | None]:
        """Return the image or the requirements that the harness lives in."""
        if uses_images(self.spec):
            return _image(task, entry), None
        if task.requirements:
            return None, self.base_dir / task.requirements
        return None, None if entry and who == "nemo" else own

    def _digest(self, image: str | None, entry: CatalogTask | None) -> str | None:
        if image is None:
            return None
        if "@" in image:
            return image.partition("@")[2]
        known = entry.digest if entry and entry.container == image else None
        return self.context.digests.get(image) or known

    def _env(self, task: Task, target: Target) -> dict[str, str]:
        merged = {**self.spec.env_vars, **self.spec.evaluation.env_vars, **task.env_vars}
        name = target.api_endpoint.api_key_name
        return {**({name: f"host:{name}"} if name else {}), **merged}

    def _key(self, job: Job) -> Key:
        """Digest what decides the job's result."""
        params = asdict(job.task.params)
        requirements = Path(job.requirements) if job.requirements else None
        return digest_key(
            {
                "task": [job.harness, job.task.name, job.task.endpoint_type, job.task.command, job.task.config],
                "params": params,
                "task_dir": digest_tree(job.task.task_dir) if job.task.task_dir else None,
                "image": job.image_digest or job.image,
                "requirements": hashlib.sha256(requirements.read_bytes()).hexdigest() if requirements else None,
                "target": [job.target.api_endpoint.url, job.target.api_endpoint.model_id, job.target.api_endpoint.type],
                "change": job.target.revision or self.context.commit,
                "deployment": job.deployment.model_dump(mode="json"),
                "env": dict(job.env),
                "dataset": job.dataset,
                "commands": [job.pre_cmd, job.post_cmd],
                "repository": self.context.repository,
                "salt": [self.context.salt, self.spec.execution.salt],
            }
        )


def digest_key(identity: Mapping[str, Any]) -> Key:
    """Turn what decides a job's result into its key."""
    text = json.dumps(identity, sort_keys=True, separators=(",", ":"), default=str)
    return Key(f"nel-{hashlib.sha256(text.encode()).hexdigest()[:16]}")


def _adapted(task: HarnessTask, target: Target) -> HarnessTask:
    """Pass the target's adapter configuration on, below what the task itself says of it."""
    adapter = target.api_endpoint.adapter_config
    if adapter is None:
        return task
    return replace(task, config=merge({"target": {"api_endpoint": {"adapter_config": adapter}}}, task.config))


def _image(task: Task, entry: CatalogTask | None) -> str | None:
    return task.container or (entry.container if entry else None)


def _kind_problems(entry: CatalogTask | None, kind: str, place: Any) -> Iterator[Problem]:  # noqa: ANN401
    if entry and kind not in entry.endpoint_types:
        kinds = ", ".join(entry.endpoint_types)
        yield Problem(f"{entry.name} speaks to {kinds} endpoints, and this target is {kind}", place)


def _homeless(name: str, who: str, place: Any, containers: bool) -> Problem:  # noqa: ANN401, FBT001
    if containers:
        hint = "name an image with container:, or set execution.runtime: process"
        return Problem(f"{name}: no image is known for the harness '{who}'", place, hint)
    hint = "set execution.runtime: docker, or name hashed requirements that hold it with requirements:"
    return Problem(f"{name} comes in a container only", place, hint)


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
