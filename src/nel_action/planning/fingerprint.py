"""The fingerprint of a benchmark: every spec key that changes what is measured, and the content of its files."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from nel_action.spec.classes import KeyClass, class_of
from nel_action.spec.evaluation import Task
from nel_action.spec.model import Spec

__all__ = ["KeyDifference", "benchmark_files", "compare_specs", "flatten", "matches", "task_fingerprint"]

VERSION: Final = "1"
"""Fingerprints of different versions are not compared."""
_LONG: Final = 200
"""Characters of a value; of longer ones, a digest is stored."""
_TASKS: Final = "evaluation.tasks."


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyDifference:
    """A difference between the specs of base and head, or between files that they name."""

    path: str
    """Key path as the spec writes it."""
    kind: KeyClass
    task: str | None
    """The affected task; None if the key affects all."""
    before: Any
    after: Any
    file: str | None = None
    """Path of the file below the key's value."""

    @property
    def text(self) -> str:
        """The difference in one line, with both values in full."""
        if self.file is None:
            return f"{self.path}: {_show(self.before)} → {_show(self.after)}"
        verb = "added" if self.before is None else "removed" if self.after is None else "changed"
        return f"{self.path}: {self.file} was {verb}"


def compare_specs(
    base: Spec,
    head: Spec,
    *,
    base_files: Mapping[tuple[str, str], str],
    head_files: Mapping[tuple[str, str], str],
) -> tuple[KeyDifference, ...]:
    """Return all differences between two specs, and between the files that they name.

    Args:
        base: the spec of the base.
        head: the spec of the change.
        base_files: digest of each file of the base's benchmarks, by key path and file.
        head_files: the same of the head.
    """
    old, new = flatten(base), flatten(head)
    keys = [
        KeyDifference(
            path=path, kind=class_of(path), task=_task_of(path, old, new), before=old.get(path), after=new.get(path)
        )
        for path in dict.fromkeys([*old, *new])
        if path not in old or path not in new or _identity(old[path]) != _identity(new[path])
    ]
    files = [
        KeyDifference(
            path=path,
            kind=KeyClass.BENCHMARK,
            task=_task_of(path, old, new),
            before=base_files.get((path, file)),
            after=head_files.get((path, file)),
            file=file,
        )
        for path, file in dict.fromkeys([*base_files, *head_files])
        if base_files.get((path, file)) != head_files.get((path, file))
    ]
    return (*keys, *files)


def task_fingerprint(spec: Spec, index: int, base_dir: Path) -> dict[str, str]:
    """Return the fingerprint of one task: key path, or key path and file, to value or digest.

    Args:
        spec: the spec.
        index: of the task.
        base_dir: directory that the spec's paths start from.

    Raises:
        OSError: a file cannot be read.
    """
    name = _labels(spec)[index]
    own = f"{_TASKS}{name}."
    values = {
        _without_name(path, own): _stored(value)
        for path, value in flatten(spec).items()
        if class_of(path) is KeyClass.BENCHMARK and (path.startswith(own) or not path.startswith(_TASKS))
    }
    files = _task_files(spec.evaluation.tasks[index], name, base_dir, remote=spec.execution.has_remote_paths)
    return {"version": VERSION, **values} | {
        f"{_without_name(path, own)}:{file}": digest for (path, file), digest in files
    }


def matches(path: str, names: tuple[str, ...]) -> bool:
    """Return whether a key path is one of the names, or below one."""
    return any(path == name or path.startswith(f"{name}.") for name in names)


def flatten(spec: Spec) -> dict[str, Any]:
    """Return every key path of a spec with its value; tasks are named, and keys with their default are left out."""
    data = spec.model_dump(mode="json", exclude_defaults=True)
    data.pop("gate", None)
    tasks = data.get("evaluation", {}).pop("tasks", [])
    flat = {**dict(_leaves("", data)), **dict(_types("", spec))}
    for label, task in zip(_labels(spec), tasks, strict=True):
        flat |= dict(_leaves(f"{_TASKS}{label}", task))
    return flat


def _leaves(path: str, value: Any) -> Iterator[tuple[str, Any]]:  # noqa: ANN401 - JSON
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves(f"{path}.{key}" if path else str(key), inner)
    elif path:
        yield path, value


def _types(path: str, model: BaseModel) -> Iterator[tuple[str, str]]:
    """Yield the type of each section that has several; it is the default of its own model, so no dump contains it."""
    for name in type(model).model_fields:
        value = getattr(model, name)
        if name == "type" and value is not None:
            yield f"{path}type", str(value)
        named = value.items() if isinstance(value, Mapping) else [(None, value)]
        for key, inner in named:
            if isinstance(inner, BaseModel):
                yield from _types(f"{path}{name}." if key is None else f"{path}{name}.{key}.", inner)


def _labels(spec: Spec) -> list[str]:
    """Return the name of each task; a repeated name gets a number."""
    counts: dict[str, int] = {}
    labels = []
    for task in spec.evaluation.tasks:
        counts[task.name] = count = counts.get(task.name, 0) + 1
        labels.append(task.name if count == 1 else f"{task.name}#{count}")
    return labels


def _task_of(path: str, *sides: Mapping[str, Any]) -> str | None:
    """Return the name of the task that a key path belongs to."""
    if not path.startswith(_TASKS):
        return None
    labels = [
        key.removesuffix(".name") for side in sides for key in side if key.startswith(_TASKS) and key.endswith(".name")
    ]
    owner = max((label for label in labels if path.startswith(f"{label}.")), key=len, default=None)
    return None if owner is None else owner.removeprefix(_TASKS).partition("#")[0]


def _without_name(path: str, own: str) -> str:
    return f"{_TASKS}*.{path.removeprefix(own)}" if path.startswith(own) else path


def _identity(value: Any) -> str:  # noqa: ANN401 - JSON
    return json.dumps(value, sort_keys=True)


def _show(value: Any) -> str:  # noqa: ANN401 - JSON
    return "not set" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _stored(value: Any) -> str:  # noqa: ANN401 - JSON
    text = _identity(value)
    return text if len(text) <= _LONG else f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def benchmark_files(spec: Spec) -> Iterator[tuple[str, str]]:
    """Yield the key and the relative path of every file or directory that a benchmark of the spec may consist of."""
    for label, task in zip(_labels(spec), spec.evaluation.tasks, strict=True):
        data = None if spec.execution.has_remote_paths else task.dataset_dir
        paths = [("task_dir", task.task_dir), ("dataset_dir", data), ("requirements", task.requirements)]
        paths += [("command", argument) for argument in task.command or ()]
        for key, path in paths:
            if path and len(path) < _LONG and not Path(path).is_absolute():
                yield f"{_TASKS}{label}.{key}", path


def _task_files(task: Task, label: str, base_dir: Path, *, remote: bool) -> Iterator[tuple[tuple[str, str], str]]:
    prefix = f"{_TASKS}{label}"
    folders = {"task_dir": task.task_dir, "dataset_dir": None if remote else task.dataset_dir}
    for key, folder in folders.items():
        if folder is not None:
            yield from (((f"{prefix}.{key}", file), digest) for file, digest in _digests(base_dir / folder))
    for key, files in (("requirements", [task.requirements]), ("command", task.command or ())):
        for file in files:
            if file and len(file) < _LONG and "\0" not in file and (base_dir / file).is_file():
                yield (f"{prefix}.{key}", file), _digest(base_dir / file)


def _digests(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the path and digest of each file below a folder; linked folders are followed, each once."""
    visited = set()
    for root, folders, files in os.walk(folder, followlinks=True, onerror=_raise):
        real = os.path.realpath(root)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if name != "__pycache__")
        for name in sorted(files):
            path = Path(root) / name
            yield path.relative_to(folder).as_posix(), _digest(path)


def _raise(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


def _digest(path: Path) -> str:
    if path.is_symlink() and not path.exists():
        return f"link:{path.readlink()}"
    if not path.is_file():
        return "special file"
    with path.open("rb") as data:
        return hashlib.file_digest(data, "sha256").hexdigest()
