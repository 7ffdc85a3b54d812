"""What can be wrong with a spec beyond the form of its keys, each with the line that is to blame."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from nel_action.catalog.lookup import CatalogTask, relatives
from nel_action.errors import Location, Problem
from nel_action.planning.task_resolution import Locate
from nel_action.spec.auxiliary import AuxiliaryKeys
from nel_action.spec.deployment import NoDeployment
from nel_action.spec.model import Spec
from nel_action.spec.target import Target

__all__ = ["check_auxiliary", "check_files", "check_kind", "check_targets", "check_trust", "homeless"]

NO_AUXILIARY: Final = ("lepton",)
"""Executors of ours that start no servers besides the model's."""

AUXILIARY_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_-]*")
PREFIX: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")

RESERVED: Final = ("SLURM", "PRIMARY", "MODEL", "SERVER", "NEL")
"""Beginnings of variables that mean something else."""


def check_targets(spec: Spec, targets: Mapping[str, Target], locate: Locate) -> Iterator[Problem]:
    """Say what each target lacks."""
    served = not isinstance(spec.deployment, NoDeployment)
    if spec.targets and spec.target.model_fields_set:
        yield Problem("give either target or targets, not both", locate(("targets",)))
    if served and len(spec.targets) > 1:
        yield Problem("a deployment serves one model, but targets names several", locate(("targets",)))
    for label, target in targets.items():
        path = ("targets", label, "api_endpoint") if spec.targets else ("target", "api_endpoint")
        name = ".".join(path)
        if not target.api_endpoint.model_id:
            yield Problem(f"{name}.model_id is missing: the model's name as the endpoint knows it", locate(path))
        if not served and not target.api_endpoint.url:
            hint = "give the full URL of the route (https://host/v1/chat/completions), or a deployment"
            yield Problem(f"{name}.url is missing", locate(path), hint)


def check_auxiliary(spec: Spec, locate: Locate) -> Iterator[Problem]:
    """Say what keeps further servers from being told apart, and where nobody would start them."""
    found = {name: one for name, one in spec.auxiliary_deployments.items() if isinstance(one, AuxiliaryKeys)}
    if found and spec.execution.type in NO_AUXILIARY:
        hint = "run it on Slurm or on one machine, or serve it yourself and write its URL where the task wants it"
        yield Problem(
            f"execution {spec.execution.type} starts no further servers", locate(("auxiliary_deployments",)), hint
        )
    seen: dict[str, str] = {}
    for name, one in found.items():
        place = locate(("auxiliary_deployments", name))
        prefix = one.env_prefix or name.upper()
        if not AUXILIARY_NAME.fullmatch(name):
            yield Problem(f"'{name}' is no name for a server", place, "use letters, digits, - and _")
        elif not PREFIX.fullmatch(prefix) or prefix in RESERVED:
            hint = "choose another with env_prefix: JUDGE2"
            yield Problem(f"{prefix} cannot begin the names of {name}'s variables", place, hint)
        elif prefix in seen:
            hint = "give one of them another env_prefix"
            yield Problem(f"{name} and {seen[prefix]} both have variables that begin with {prefix}", place, hint)
        if one.num_nodes % one.num_instances:
            hint = "num_instances must divide num_nodes"
            yield Problem(f"{one.num_nodes} nodes cannot be shared by {one.num_instances} instances", place, hint)
        seen[prefix] = name


def check_files(spec: Spec, index: int, base_dir: Path, locate: Locate) -> Iterator[Problem]:
    """Say which files that a task names are not there."""
    task = spec.evaluation.tasks[index]
    for name, path, what in (
        ("task_dir", task.task_dir, Path.is_dir),
        ("dataset_dir", task.dataset_dir, Path.is_dir),
        ("requirements", task.requirements, Path.is_file),
    ):
        if path and not what(base_dir / path):
            kind = "file" if name == "requirements" else "folder"
            yield Problem(f"{name}: no {kind} {path} beside the spec", locate(("evaluation", "tasks", index, name)))


def check_trust(spec: Spec, index: int, locate: Locate) -> Iterator[Problem]:
    """Say which shell text is not run because nobody said that it may."""
    if spec.execution.trust_commands:
        return
    own = ("evaluation", "tasks", index)
    for owner, path in ((spec.evaluation.tasks[index], own), (spec.evaluation, own[:1])):
        for name in ("pre_cmd", "post_cmd"):
            if getattr(owner, name):
                message = f"{name} is shell text, which is not run unless it is trusted"
                hint = "set execution.trust_commands: true if the spec's authors may run shell text here"
                yield Problem(message, locate((*path, name)), hint)


def check_kind(entry: CatalogTask | None, kind: str, place: Location | None) -> Iterator[Problem]:
    """Say that a benchmark cannot speak to such an endpoint."""
    if entry and kind not in entry.endpoint_types:
        kinds = ", ".join(entry.endpoint_types)
        others = ", ".join(task.full_name for task in relatives(entry, kind)[:3])
        hint = f"for {kind}: {others}" if others else None
        yield Problem(f"{entry.name} speaks to {kinds} endpoints, and this target is {kind}", place, hint)


def homeless(name: str, who: str, place: Location | None, *, containers: bool) -> Problem:
    """Say that nothing is known in which a task's harness could run."""
    if containers:
        hint = "name an image with container:, or set execution.runtime: process"
        return Problem(f"{name}: no image is known for the harness '{who}'", place, hint)
    hint = "set execution.runtime: docker, or name hashed requirements that hold it with requirements:"
    return Problem(f"{name} comes in a container only", place, hint)
