"""The class of every spec key: whether a change of it changes the benchmark, the subject, or the operation only.

The table is complete: a test fails for a key without a class. `*` denotes a name in a mapping, for a task, or for an
index. A row also covers the keys below it, unless a longer row names them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from enum import StrEnum
from functools import cache
from typing import Any, Final, get_args, get_origin

from pydantic import BaseModel

from nel_action.spec.introspection import fields_of, members

__all__ = ["CLASSES", "FROM_BASE", "KeyClass", "class_of", "is_key_path", "key_paths", "takes_base_value"]


class KeyClass(StrEnum):
    """The effect of a key on the verdict about a change."""

    BENCHMARK = "benchmark"
    """What is measured: a difference between base and head makes the affected tasks unmeasurable."""
    SUBJECT = "subject"
    """The model under test: a difference is listed and compared, unless the base pins the key."""
    OPERATIONAL = "operational"
    """How it is run: a difference is listed; where it affects the verdict, the base's value applies."""


_TASK: Final = "name harness container endpoint_type env_vars task_dir command requirements metric expected_items"
_TASK_DATA: Final = "dataset_dir dataset_mount_path pre_cmd post_cmd nemo_evaluator_config"
_PARAMS: Final = "limit_samples seed temperature top_p max_new_tokens task extra"
_OPERATION: Final = "parallelism request_timeout max_retries"
_LOCAL: Final = "runtime network gpus memory cpus shm_size extra_docker_args"
_SLURM_SUBJECT: Final = "deployment proxy mpi"
_SLURM_BENCHMARK: Final = "runtime_args environment environments"
_OPERATIONAL: Final = (
    "type hostname username port known_hosts known_hosts_name proxy_jump bin_dir "
    "output_dir parallelism timeout endpoint_readiness_timeout salt auto_export mode pull keep_days key_file key_name "
    "key_passphrase_name login_shell connect_timeout command_timeout outage_timeout runs_dir account partition "
    "cpu_partition qos num_nodes num_instances ntasks_per_node gres gpus_per_node walltime max_walltime max_resumes "
    "subproject sbatch_comment sbatch_extra_flags evaluation_gpu_visible env_var_names evaluation_tasks "
    "lepton_platform.deployment lepton_platform.tasks.node_group lepton_platform.tasks.image_pull_secrets "
    "lepton_platform.tasks.api_tokens"
)


def _rows(prefix: str, names: str, kind: KeyClass) -> dict[str, KeyClass]:
    return {f"{prefix}.{name}": kind for name in names.split()}


CLASSES: Final[dict[str, KeyClass]] = {
    "name": KeyClass.OPERATIONAL,
    "target": KeyClass.SUBJECT,
    "target.api_endpoint.adapter_config": KeyClass.BENCHMARK,
    "targets.*": KeyClass.SUBJECT,
    "targets.*.api_endpoint.adapter_config": KeyClass.BENCHMARK,
    "deployment": KeyClass.SUBJECT,
    "auxiliary_deployments.*": KeyClass.BENCHMARK,
    "env_vars": KeyClass.BENCHMARK,
    "gate": KeyClass.OPERATIONAL,
    "gateway": KeyClass.OPERATIONAL,
    "prices": KeyClass.OPERATIONAL,
    "budget": KeyClass.OPERATIONAL,
    "export": KeyClass.OPERATIONAL,
    **_rows("evaluation.tasks.*", f"{_TASK} {_TASK_DATA}", KeyClass.BENCHMARK),
    "evaluation.tasks.*.timeout": KeyClass.OPERATIONAL,
    "evaluation.tasks.*.gateway": KeyClass.OPERATIONAL,
    "evaluation.tasks.*.budget": KeyClass.OPERATIONAL,
    **_rows("evaluation.tasks.*.params", _PARAMS, KeyClass.BENCHMARK),
    **_rows("evaluation.tasks.*.params", _OPERATION, KeyClass.OPERATIONAL),
    **_rows("evaluation.params", _PARAMS, KeyClass.BENCHMARK),
    **_rows("evaluation.params", _OPERATION, KeyClass.OPERATIONAL),
    **_rows("evaluation", "nemo_evaluator_config env_vars pre_cmd post_cmd", KeyClass.BENCHMARK),
    "execution.trust_commands": KeyClass.BENCHMARK,
    **_rows("execution", _LOCAL, KeyClass.BENCHMARK),
    "execution.mounts": KeyClass.BENCHMARK,
    "execution.mounts.deployment": KeyClass.SUBJECT,
    **_rows("execution", _SLURM_SUBJECT, KeyClass.SUBJECT),
    **_rows("execution", _SLURM_BENCHMARK, KeyClass.BENCHMARK),
    **_rows("execution.lepton_platform.tasks", "env_vars mounts", KeyClass.BENCHMARK),
    **_rows("execution", _OPERATIONAL, KeyClass.OPERATIONAL),
}
"""Key path → class."""

_PLACE: Final = (
    "type hostname username port known_hosts known_hosts_name proxy_jump bin_dir login_shell key_file key_name "
    "key_passphrase_name output_dir runs_dir salt pull sbatch_extra_flags lepton_platform.tasks.node_group"
)
FROM_BASE: Final = frozenset({
    *("gateway", "prices", "budget", "evaluation.tasks.*.gateway", "evaluation.tasks.*.budget"),
    *(f"execution.{name}" for name in _PLACE.split()),
})  # fmt: skip
"""Operational keys that affect the verdict: the machine that measures, the place where results are looked up, what may
be reused, and what is measured in addition to the score. The base's value applies in a pull request."""


def class_of(path: Sequence[str]) -> KeyClass:
    """Return the class of a key; one of a plug-in changes the benchmark.

    Args:
        path: the keys from the top; the name of a task or a model is one of them, whatever characters it contains.
    """
    return next((CLASSES[row] for row in _rows_above(path) if row in CLASSES), KeyClass.BENCHMARK)


def takes_base_value(path: Sequence[str]) -> bool:
    """Return whether the base's value of a key applies in a pull request.

    Args:
        path: as for `class_of`.
    """
    return any(row in FROM_BASE for row in _rows_above(path))


def _rows_above(path: Sequence[str]) -> Iterator[str]:
    """Yield the rows that a key may have, the longest first."""
    for end in range(len(path), 0, -1):
        names = list(path[:end])
        yield ".".join(names)
        for prefix in (("targets",), ("auxiliary_deployments",), ("evaluation", "tasks")):
            if tuple(names[: len(prefix)]) == prefix and len(names) > len(prefix):
                yield ".".join([*prefix, "*", *names[len(prefix) + 1 :]])


@cache
def _patterns() -> tuple[re.Pattern[str], ...]:
    # NOTE: names of tasks and models may contain dots.
    return tuple(re.compile(re.escape(path).replace(r"\*", r".+?") + r"(?:\..*)?", re.DOTALL) for path in CLASSES)


def is_key_path(path: str) -> bool:
    """Return whether a path names a key of the table, something below one, or a section of several."""
    if any(pattern.fullmatch(path) for pattern in _patterns()):
        return True
    sections = {row[: index + 1] for parts in CLASSES if (row := tuple(parts.split("."))) for index in range(len(row))}
    return any(
        re.fullmatch(re.escape(".".join(section)).replace(r"\*", r".+?"), path, re.DOTALL) for section in sections
    )


def key_paths(model: type[BaseModel], prefix: str = "", parents: tuple[Any, ...] = ()) -> Iterator[str]:
    """Yield the paths of all keys of a model that have no keys of their own, with `*` for names and indices.

    Args:
        model: the model.
        prefix: path of the model, with a final dot.
        parents: models on the way to it, which end a recursion.
    """
    for name, annotation in fields_of(model).items():
        yield from _paths_below(annotation, f"{prefix}{name}", (*parents, model))


def _paths_below(annotation: Any, path: str, parents: tuple[Any, ...]) -> Iterator[str]:  # noqa: ANN401
    for _, alternative in members(annotation):
        origin = get_origin(alternative)
        if isinstance(alternative, type) and issubclass(alternative, BaseModel) and alternative not in parents:
            yield from key_paths(alternative, f"{path}.", parents)
        elif origin in {dict, tuple, list} and _contains_models(get_args(alternative)):
            yield from _paths_below(get_args(alternative)[-1 if origin is dict else 0], f"{path}.*", parents)
        else:
            yield path


def _contains_models(arguments: tuple[Any, ...]) -> bool:
    alternatives = [alternative for argument in arguments for _, alternative in members(argument)]
    return any(isinstance(item, type) and issubclass(item, BaseModel) for item in alternatives)
