"""The fingerprint of a benchmark: every spec key that changes what is measured, and the content of its files."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from nel_action.files import is_generated
from nel_action.spec.classes import KeyClass, class_of
from nel_action.spec.evaluation import Task
from nel_action.spec.model import Spec

__all__ = [
    "ABSOLUTE_PATH",
    "FURTHER",
    "IMAGE_DIGEST",
    "KeyDifference",
    "KeyPath",
    "benchmark_paths",
    "compare_specs",
    "flatten",
    "key_text",
    "matches",
    "task_fingerprint",
]

VERSION: Final = "1"
"""Fingerprints of different versions are not compared."""
IMAGE_DIGEST: Final = "evaluation.tasks.*.container:digest"
"""Name of the digest of the harness's image, where it is known."""
FURTHER: Final = "./"
"""Prefix of files of the repository that a benchmark reads in addition to its own: absolute paths, included files."""
_INCLUDED: Final = re.compile(r"^\s*(?:-r|-c|--requirements?|--constraints?)(?:\s+|=)(\S+)", re.MULTILINE)
"""A file that a requirements file includes."""
_LONG: Final = 200
"""Characters of a value; of longer ones, a digest is stored."""
_TASKS: Final = ("evaluation", "tasks")
_MOUNTS: Final = ("execution", "mounts")

ABSOLUTE_PATH: Final = re.compile(r"""(?:^|[\s=:,;"'(])(/[^\s=:,;"'()]+)""")
"""An absolute path in an argument, also in an option's value or in shell text."""

KeyPath = tuple[str, ...]
"""Keys from the top of a spec."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyDifference:
    """A difference between the specs of base and head, or between files that they name."""

    path: str
    """Key path as the spec writes it."""
    keys: KeyPath
    """The keys from the top."""
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
    base_files: Mapping[tuple[KeyPath, str], str],
    head_files: Mapping[tuple[KeyPath, str], str],
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
        _difference(keys, old.get(keys), new.get(keys))
        for keys in dict.fromkeys([*old, *new])
        if keys not in old or keys not in new or _identity(old[keys]) != _identity(new[keys])
    ]
    files = [
        _difference(keys, base_files.get((keys, file)), head_files.get((keys, file)), file)
        for keys, file in dict.fromkeys([*base_files, *head_files])
        if base_files.get((keys, file)) != head_files.get((keys, file))
    ]
    return (*keys, *files)


def _difference(keys: KeyPath, before: Any, after: Any, file: str | None = None) -> KeyDifference:  # noqa: ANN401
    return KeyDifference(
        path=key_text(keys),
        keys=keys,
        kind=KeyClass.BENCHMARK if file is not None else class_of(keys),
        task=_name_of(keys[len(_TASKS)]) if keys[: len(_TASKS)] == _TASKS else None,
        before=before,
        after=after,
        file=file,
    )


def key_text(keys: KeyPath) -> str:
    """Return a key path as the spec writes it; the second of two tasks with one name has a number."""
    if keys[: len(_TASKS)] != _TASKS:
        return ".".join(keys)
    name, _, number = keys[len(_TASKS)].rpartition("\0")
    label = name if number == "1" else f"{name}#{number}"
    return ".".join([*_TASKS, label, *keys[len(_TASKS) + 1 :]])


def _name_of(label: str) -> str:
    return label.rpartition("\0")[0]


def task_fingerprint(spec: Spec, index: int, base_dir: Path) -> dict[str, str]:
    """Return the fingerprint of one task: key path, or key path and file, to value or digest.

    Args:
        spec: the spec.
        index: of the task.
        base_dir: directory that the spec's paths start from.

    Raises:
        OSError: a file cannot be read.
    """
    own = (*_TASKS, _labels(spec)[index])
    values = {
        _own_text(keys, own): _stored(value)
        for keys, value in flatten(spec).items()
        if class_of(keys) is KeyClass.BENCHMARK and (keys[: len(own)] == own or keys[: len(_TASKS)] != _TASKS)
    }
    task = spec.evaluation.tasks[index]
    files = {
        f"{_own_text((*own, key), own)}:{file}": digest
        for (key, file), digest in _task_files(task, base_dir, remote=spec.execution.has_remote_paths)
    }
    return {"version": VERSION, **values, **files} | {
        f"{_own_text(keys, own)}:{FURTHER}{file}": digest
        for keys, file, digest in _further_files(spec, own, task, base_dir)
    }


def _own_text(keys: KeyPath, own: KeyPath) -> str:
    """Return a key path without the name of the task."""
    return ".".join([*_TASKS, "*", *keys[len(own) :]]) if keys[: len(own)] == own else key_text(keys)


def matches(path: str, names: tuple[str, ...]) -> bool:
    """Return whether a key path is one of the names, or below one."""
    return any(path == name or path.startswith(f"{name}.") for name in names)


def flatten(spec: Spec) -> dict[KeyPath, Any]:
    """Return every key of a spec with its value; keys with their default are left out.

    A task is one key of the path, `name`, NUL, number, so that no name can be mistaken for another path.
    """
    data = spec.model_dump(mode="json", exclude_defaults=True)
    data.pop("gate", None)
    evaluation = data.pop("evaluation", {})
    tasks = evaluation.pop("tasks", [])
    flat = {**dict(_leaves((), data)), **dict(_leaves(("evaluation",), evaluation)), **dict(_types((), spec))}
    flat.pop(("evaluation",), None)
    for label, task in zip(_labels(spec), tasks, strict=True):
        flat |= dict(_leaves((*_TASKS, label), task))
    return flat


def _leaves(keys: KeyPath, value: Any) -> Iterator[tuple[KeyPath, Any]]:  # noqa: ANN401 - JSON
    if isinstance(value, dict) and value:
        for key, inner in value.items():
            yield from _leaves((*keys, str(key)), inner)
    elif keys:
        yield keys, value


def _types(keys: KeyPath, model: BaseModel) -> Iterator[tuple[KeyPath, str]]:
    """Yield the type of each section that has several; it is the default of its own model, so no dump contains it."""
    for name in type(model).model_fields:
        value = getattr(model, name)
        if name == "type" and value is not None:
            yield (*keys, "type"), str(value)
        named = value.items() if isinstance(value, Mapping) else [(None, value)]
        for key, inner in named:
            if isinstance(inner, BaseModel):
                yield from _types((*keys, name) if key is None else (*keys, name, key), inner)


def _labels(spec: Spec) -> list[str]:
    """Return the name and the number of each task; the number counts the tasks of the same name."""
    counts: dict[str, int] = {}
    labels = []
    for task in spec.evaluation.tasks:
        counts[task.name] = counts.get(task.name, 0) + 1
        labels.append(f"{task.name}\0{counts[task.name]}")
    return labels


def _identity(value: Any) -> str:  # noqa: ANN401 - JSON
    return json.dumps(value, sort_keys=True)


def _show(value: Any) -> str:  # noqa: ANN401 - JSON
    return "not set" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _stored(value: Any) -> str:  # noqa: ANN401 - JSON
    text = _identity(value)
    return text if len(text) <= _LONG else f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def benchmark_paths(spec: Spec, environ: Mapping[str, str] | None = None) -> Iterator[tuple[KeyPath, str]]:
    """Yield the key and the path of every file or directory that a benchmark of the spec may consist of.

    Relative paths start from the directory of the spec. An absolute one may be part of a longer text, such as a shell
    command or a list of directories.

    Args:
        spec: the spec.
        environ: values of the variables that references of the spec name.
    """
    for label, task in zip(_labels(spec), spec.evaluation.tasks, strict=True):
        data = None if spec.execution.has_remote_paths else task.dataset_dir
        paths = [("task_dir", task.task_dir), ("dataset_dir", data), ("requirements", task.requirements)]
        paths += [("command", argument) for argument in task.command or ()]
        for key, path in paths:
            if path and len(path) < _LONG and not Path(path).is_absolute():
                yield (*_TASKS, label, key), path
    for keys, value in flatten(spec).items():
        if class_of(keys) is KeyClass.BENCHMARK:
            texts = [*keys, *_texts(value)]
            names = [text.partition(":")[2] for text in texts if text.startswith(("host:", "runtime:"))]
            texts += [environ[name] for name in names if environ and name in environ]
            yield from ((keys, path) for text in texts for path in ABSOLUTE_PATH.findall(text))
            if keys[: len(_MOUNTS)] == _MOUNTS and isinstance(value, str) and not keys[-1].startswith("/"):
                yield keys, keys[-1]


def _texts(value: Any) -> Iterator[str]:  # noqa: ANN401 - JSON
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _texts(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from (str(key), *_texts(item))


def _task_files(task: Task, base_dir: Path, *, remote: bool) -> Iterator[tuple[tuple[str, str], str]]:
    folders = {"task_dir": task.task_dir, "dataset_dir": None if remote else task.dataset_dir}
    for key, folder in folders.items():
        if folder is not None:
            yield from (((key, file), digest) for file, digest in _digests(base_dir / folder))
    for key, files in (("requirements", [task.requirements]), ("command", task.command or ())):
        for file in files:
            if file and len(file) < _LONG and "\0" not in file and (base_dir / file).is_file():
                yield (key, file), _digest(base_dir / file)


def _further_files(spec: Spec, own: KeyPath, task: Task, base_dir: Path) -> Iterator[tuple[KeyPath, str, str]]:
    """Yield key, path and digest of the files in the repository that absolute paths name, or requirements include.

    Args:
        spec: the spec.
        own: keys of the task.
        task: the task.
        base_dir: directory that the spec's paths start from.
    """
    top = next((folder for folder in (base_dir, *base_dir.parents) if (folder / ".git").exists()), None)
    for keys, text in benchmark_paths(spec):
        path = Path(os.path.normpath(text))
        if top is None or not text.startswith("/") or (keys[: len(_TASKS)] == _TASKS and keys[: len(own)] != own):
            continue
        if path.is_relative_to(top):
            files = _digests(path) if path.is_dir() else [("", _digest(path))] if path.is_file() else ()
            for file, digest in files:
                yield keys, (path / file).relative_to(top).as_posix(), digest
    if task.requirements:
        for path in _included(base_dir / task.requirements):
            yield (*own, "requirements"), os.path.relpath(path, base_dir), _digest(path)


def _included(file: Path) -> Iterator[Path]:
    """Yield the requirements files that a requirements file includes, each once."""
    pending, seen = [file], {file}
    while pending:
        current = pending.pop()
        text = current.read_text(errors="replace") if current.is_file() else ""
        for name in _INCLUDED.findall(text):
            path = Path(os.path.normpath(current.parent / name))
            if path not in seen and path.is_file():
                seen.add(path)
                pending.append(path)
                yield path


def _digests(folder: Path) -> Iterator[tuple[str, str]]:
    """Yield the path and digest of each file below a folder; linked folders are followed, each once."""
    visited = set()
    for root, folders, files in os.walk(folder, followlinks=True, onerror=_raise):
        real = os.path.realpath(root)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(name for name in folders if not is_generated(Path(root, name)))
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
