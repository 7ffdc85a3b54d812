"""The `defaults` list of a spec: which group brings which file, checked before anything is composed."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nel_action.errors import Problem, SpecError
from nel_action.spec.nested import Loc
from nel_action.spec.overrides import Override
from nel_action.spec.source_positions import Document, nearest

__all__ = ["GROUPS", "Entry", "check_choices", "read_defaults"]

GROUPS = Path(__file__).parent / "groups"
"""The folder of the packaged groups."""

_KEY = re.compile(r"^(?P<words>(?:(?:override|optional)\s+)*)(?P<group>/?[^@\s]+)(?:@(?P<package>\S*))?$")


@dataclass(frozen=True)
class Entry:
    """One line of a `defaults` list."""

    group: str
    """The group (`execution`); empty for `_self_` and for configs by name."""
    option: str
    """What was chosen (`slurm/default`), or `_self_`, or the config's name."""
    package: Loc
    """The key that it is put under."""
    simple: bool
    """Nothing but `_self_` or `group: option`."""
    file: Path | None = None
    """The file that it brings."""

    @property
    def is_self(self) -> bool:
        """Whether it stands for the file itself."""
        return not self.group and self.option == "_self_"


def read_defaults(document: Document, search: Sequence[Path]) -> tuple[Entry, ...]:
    """Return the entries of a file's `defaults` list, each with its file.

    Raises:
        SpecError: the list has no such shape, or names groups or options that are not there.
    """
    listed = document.data.get("defaults", [])
    if not isinstance(listed, list):
        hint = "write `defaults: [execution: local, deployment: none, _self_]`"
        raise SpecError([Problem("'defaults' must be a list", document.place(("defaults",))[0], hint)])
    problems: list[Problem] = []
    entries: list[Entry] = []
    for index, item in enumerate(listed):
        place = document.place(("defaults", index))[0]
        for found in _entries(item, search):
            if isinstance(found, Entry):
                entries.append(found)
            else:
                problems.append(Problem(found[0], place, found[1]))
    if problems:
        raise SpecError(problems)
    return tuple(entries)


def check_choices(entries: Sequence[Entry], overrides: Iterable[Override], search: Sequence[Path]) -> None:
    """Check what the command line chooses (`deployment=vllm`).

    Raises:
        SpecError: a group has no such option.
    """
    groups = {entry.group for entry in entries if entry.group}
    problems = []
    for override in overrides:
        value = override.value or ""
        if override.mode != "set" or override.key not in groups or not re.fullmatch(r"[\w/.-]+", value):
            continue
        if value != "null" and _find(override.key, value, search) is None:
            known = _options(override.key, search)
            message = f"'{override.key}' has no option '{value}'{_did_you_mean(value, known)}"
            problems.append(Problem(message, override.location, f"there are {_list(known)}"))
    if problems:
        raise SpecError(problems)


def _entries(item: Any, search: Sequence[Path]) -> Iterator[Entry | tuple[str, str | None]]:  # noqa: ANN401
    """Read one item; yield entries, or what is wrong with it and a hint."""
    if item == "_self_":
        yield Entry("", "_self_", (), simple=True)
    elif isinstance(item, str):
        name, _, package = item.partition("@")
        group, _, option = name.rpartition("/")
        yield from _config(group.lstrip("/"), option, package, search)
    elif isinstance(item, dict) and len(item) == 1:
        [(key, chosen)] = item.items()
        match = _KEY.match(key)
        if match is None:
            yield f"'{key}' is no group", None
            return
        for option in chosen if isinstance(chosen, list) else [chosen]:
            yield from _choice(match, option, search)
    else:
        yield "must be `group: option` or `_self_`", None


def _config(group: str, option: str, package: str, search: Sequence[Path]) -> Iterator[Entry | tuple[str, str | None]]:
    file = _find(group, option, search)
    if file is None and "${" not in option:
        yield f"there is no config '{group}/{option}'".replace("'/", "'"), _offer(group, option, search)
        return
    yield Entry(group, option, _package(package, group), simple=False, file=file)


def _choice(match: re.Match[str], option: Any, search: Sequence[Path]) -> Iterator[Entry | tuple[str, str | None]]:  # noqa: ANN401
    group = match["group"].lstrip("/")
    words = match["words"].split()
    if option is None or group.startswith("hydra"):
        yield Entry(group, str(option), (), simple=False)
        return
    simple = not words and match["package"] is None and match["group"] == group
    file = _find(group, str(option), search)
    if file is None and "optional" not in words and "${" not in f"{group}{option}":
        known = _options(group, search)
        if known:
            yield f"'{group}' has no option '{option}'{_did_you_mean(str(option), known)}", f"there are {_list(known)}"
        else:
            groups = sorted({path.name for folder in search for path in folder.glob("*/") if path.is_dir()})
            near = nearest(group, groups)
            ours = sorted(path.name for path in GROUPS.glob("*/") if not path.name.startswith("_"))
            yield (
                f"there is no group '{group}'{_did_you_mean(group, [near] if near else [])}",
                f"there are {_list(ours)}",
            )
        return
    yield Entry(group, str(option), _package(match["package"] or "", group), simple=simple, file=file)


def _package(package: str, group: str) -> Loc:
    if package == "_global_":
        return ()
    return tuple((package or group.replace("/", ".")).split(".")) if package or group else ()


def _find(group: str, option: str, search: Sequence[Path]) -> Path | None:
    files = (folder / group / f"{option.removesuffix('.yaml')}.yaml" for folder in search)
    return next((file for file in files if file.is_file()), None)


def _options(group: str, search: Sequence[Path]) -> list[str]:
    found = {
        path.relative_to(folder / group).with_suffix("").as_posix()
        for folder in search
        if (folder / group).is_dir()
        for path in (folder / group).rglob("*.yaml")
    }
    return sorted(found)


def _offer(group: str, option: str, search: Sequence[Path]) -> str | None:
    near = nearest(option, _options(group, search) if group else [])
    return f"did you mean '{near}'?" if near else None


def _did_you_mean(word: str, known: Sequence[str]) -> str:
    near = nearest(word, known)
    return f"; did you mean '{near}'?" if near else ""


def _list(words: Sequence[str]) -> str:
    return ", ".join(words)
