"""The `defaults` list of a spec: its groups and their files, checked before composition."""

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
"""Directory of the packaged groups."""

_KEY = re.compile(r"^(?P<keywords>(?:(?:override|optional)\s+)*)(?P<group>/?[^@\s]+)(?:@(?P<package>\S*))?$")


@dataclass(frozen=True)
class Entry:
    """An entry of a `defaults` list."""

    group: str
    """The group (`execution`); empty for `_self_` and for configs by name."""
    option: str
    """The chosen option (`slurm/default`), `_self_`, or the config's name."""
    package: Loc
    """Location in the spec at which the file is inserted."""
    simple: bool
    """Whether it is `_self_` or `group: option`, without keywords or package."""
    file: Path | None = None
    """The file of the option."""

    @property
    def is_self(self) -> bool:
        """Whether it represents the file with the list."""
        return not self.group and self.option == "_self_"


def read_defaults(document: Document, search: Sequence[Path]) -> tuple[Entry, ...]:
    """Return the entries of a file's `defaults` list.

    Args:
        document: the file.
        search: directories of groups, in order of precedence.

    Raises:
        SpecError: the list is malformed, or names groups or options that do not exist.
    """
    items = document.data.get("defaults", [])
    if not isinstance(items, list):
        hint = "write `defaults: [execution: local, deployment: none, _self_]`"
        raise SpecError([Problem("'defaults' must be a list", document.position(("defaults",))[0], hint)])
    problems: list[Problem] = []
    entries: list[Entry] = []
    for index, item in enumerate(items):
        location = document.position(("defaults", index))[0]
        for parsed in _parse_item(item, search):
            if isinstance(parsed, Entry):
                entries.append(parsed)
            else:
                problems.append(Problem(parsed[0], location, parsed[1]))
    if problems:
        raise SpecError(problems)
    return tuple(entries)


def check_choices(entries: Sequence[Entry], overrides: Iterable[Override], search: Sequence[Path]) -> None:
    """Check the options that the command line chooses (`deployment=vllm`).

    Args:
        entries: entries of the `defaults` list.
        overrides: of the command line.
        search: directories of groups.

    Raises:
        SpecError: a group has no such option.
    """
    groups = {entry.group for entry in entries if entry.group}
    problems = []
    for override in overrides:
        value = override.value or ""
        if override.mode != "set" or override.key not in groups or not re.fullmatch(r"[\w/.-]+", value):
            continue
        if value != "null" and _find_file(override.key, value, search) is None:
            options = _options(override.key, search)
            message = f"'{override.key}' has no option '{value}'{_suggestion(value, options)}"
            problems.append(Problem(message, override.location, _options_hint(options)))
    if problems:
        raise SpecError(problems)


def _parse_item(item: Any, search: Sequence[Path]) -> Iterator[Entry | tuple[str, str | None]]:  # noqa: ANN401
    """Parse an item of the list; yield entries, or the message and hint of a problem."""
    if item == "_self_":
        yield Entry("", "_self_", (), simple=True)
    elif isinstance(item, str):
        name, _, package = item.partition("@")
        group, _, option = name.rpartition("/")
        yield from _parse_config(group.lstrip("/"), option, package, search)
    elif isinstance(item, dict) and len(item) == 1:
        [(key, chosen)] = item.items()
        match = _KEY.match(key)
        if match is None:
            yield f"'{key}' is not a valid group", None
            return
        for option in chosen if isinstance(chosen, list) else [chosen]:
            yield from _parse_choice(match, option, search)
    else:
        yield "must be `group: option` or `_self_`", None


def _parse_config(
    group: str, option: str, package: str, search: Sequence[Path]
) -> Iterator[Entry | tuple[str, str | None]]:
    file = _find_file(group, option, search)
    if file is None and "${" not in option:
        similar = nearest(option, _options(group, search) if group else [])
        hint = f"did you mean '{similar}'?" if similar else None
        yield f"no config '{group}/{option}'".replace("'/", "'"), hint
        return
    yield Entry(group, option, _package(package, group), simple=False, file=file)


def _parse_choice(
    match: re.Match[str],
    option: Any,  # noqa: ANN401
    search: Sequence[Path],
) -> Iterator[Entry | tuple[str, str | None]]:
    group = match["group"].lstrip("/")
    keywords = match["keywords"].split()
    if option is None or group.startswith("hydra"):
        yield Entry(group, str(option), (), simple=False)
        return
    simple = not keywords and match["package"] is None and match["group"] == group
    file = _find_file(group, str(option), search)
    if file is None and "optional" not in keywords and "${" not in f"{group}{option}":
        options = _options(group, search)
        if options:
            yield f"'{group}' has no option '{option}'{_suggestion(str(option), options)}", _options_hint(options)
        else:
            groups = sorted({path.name for folder in search for path in folder.glob("*/") if path.is_dir()})
            packaged = sorted(path.name for path in GROUPS.glob("*/") if not path.name.startswith("_"))
            yield f"no group '{group}'{_suggestion(group, groups)}", f"the groups are: {', '.join(packaged)}"
        return
    yield Entry(group, str(option), _package(match["package"] or "", group), simple=simple, file=file)


def _package(package: str, group: str) -> Loc:
    if package == "_global_":
        return ()
    return tuple((package or group.replace("/", ".")).split(".")) if package or group else ()


def _find_file(group: str, option: str, search: Sequence[Path]) -> Path | None:
    files = (folder / group / f"{option.removesuffix('.yaml')}.yaml" for folder in search)
    return next((file for file in files if file.is_file()), None)


def _options(group: str, search: Sequence[Path]) -> list[str]:
    options = {
        path.relative_to(folder / group).with_suffix("").as_posix()
        for folder in search
        if (folder / group).is_dir()
        for path in (folder / group).rglob("*.yaml")
    }
    return sorted(options)


def _suggestion(name: str, known: Sequence[str]) -> str:
    similar = nearest(name, known)
    return f"; did you mean '{similar}'?" if similar else ""


def _options_hint(options: Sequence[str]) -> str:
    return f"the options are: {', '.join(options)}"
