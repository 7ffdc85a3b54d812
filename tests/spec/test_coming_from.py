"""The migration page for users of the launcher agrees with the program: flags, keys, states, renamed keys."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from nel_action.cli.app import root
from nel_action.errors import NelActionError
from nel_action.model.job import JobState, Reason
from nel_action.spec.compose import load_spec
from nel_action.spec.deprecations import MOVES
from nel_action.spec.introspection import is_known_key

PAGE = Path(__file__).parents[2] / "docs" / "coming-from-nemo-launcher.md"

LAUNCHER = {
    "run": "config config-mode override dry-run tasks config-output env-file verbose",
    "status": "json", "logs": "", "kill": "", "resume": "", "version": "", "config": "", "skills": "",
    "ls": "", "ls tasks": "json from-container", "ls task": "json tasks-file from-container",
    "ls runs": "limit executor since",
    "info": "config artifacts logs copy-logs copy-artifacts",
    "export": "dest config override output-dir output-filename format copy-logs copy-artifacts log-metrics "
              "only-required job-dirs",
    "nel-watch": "", "nel-migrate-config": "",
}  # fmt: skip
"""Commands and options of release 0.2.6."""


def rows(section: str) -> Iterator[list[str]]:
    """Yield the cells of each row of a section's table."""
    text = PAGE.read_text().partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    table = [line for line in text.splitlines() if line.startswith("|")][2:]
    for line in table:
        yield [cell.strip() for cell in line.strip("|").split("|")]


def code(cell: str) -> str:
    match = re.match(r"`([^`]+)`", cell)
    return match[1] if match else cell


def command(names: list[str]) -> click.Command:
    """Return a command by its names, for example `["ls", "tasks"]`."""
    current: click.Command = root
    context = click.Context(root)
    for name in names:
        assert isinstance(current, click.Group)
        child = current.get_command(context, name)
        assert child is not None, names
        current = child
    return current


def test_page_lists_all_commands_and_options_of_the_launcher() -> None:
    listed = {code(first) for first, *_ in rows("Commands and flags")}
    expected = set(LAUNCHER) | {f"{name} --{flag}" for name, flags in LAUNCHER.items() for flag in flags.split()}
    assert listed == expected


def test_options_on_the_page_exist() -> None:
    for first, replacement, remark in rows("Commands and flags"):
        if replacement == "—":
            assert remark.startswith("gone: "), first
            continue
        *names, last = code(replacement).split()
        option = last if last.startswith("-") else None
        target = command(names if option else [*names, last])
        assert option is None or any(option in parameter.opts for parameter in target.params), replacement
        for other in re.findall(r"`(--?[a-z-]+)`", remark):
            known = [*target.params, *root.params, *command(["run"]).params]
            options = {name for parameter in known for name in [*parameter.opts, *parameter.secondary_opts]}
            assert other == "--version" or other in options, other


def location(key: str) -> tuple[str | int, ...]:
    parts: list[str | int] = []
    for part in key.split("."):
        name, star, _ = part.partition("[")
        parts += [name, 0] if star else [name]
    return tuple(parts)


def test_keys_on_the_page_are_known() -> None:
    for key, remark in rows("Keys"):
        name = code(key)
        if name == "defaults" or remark.startswith("gone: "):
            continue
        known = is_known_key(location(name)) or (name.startswith("export.") and name.count(".") == 1)
        assert known, name


def test_groups_on_the_page_exist() -> None:
    (remark,) = [remark for key, remark in rows("Keys") if code(key) == "defaults"]
    groups = re.findall(r"`(?:execution: |deployment: )?([a-z_/]+)`", remark)
    folder = Path(load_spec.__code__.co_filename).parent / "groups"
    for group in groups:
        assert list(folder.glob(f"*/{group}.yaml")), group
    assert len(groups) == 11


@pytest.mark.parametrize(("old", "new"), [(code(row[0]), code(row[1])) for row in rows("Renamed keys")])
def test_renamed_key_is_accepted_with_a_warning(old: str, new: str, tmp_path: Path) -> None:
    moves = {(pattern_of(source), pattern_of(target)) for source, target in MOVES}
    assert (generic(old), generic(new)) in moves, old
    value: object = 3 if old.endswith("max_tokens") else True if ".log_" in old else {}
    data: object = value
    for part in reversed(location(old)):
        data = [data] if isinstance(part, int) else {part: data}
    assert isinstance(data, dict)
    evaluation = data.setdefault("evaluation", {})
    task = {"name": "gsm8k", **(evaluation.get("tasks") or [{}])[0]}
    data["evaluation"] = {**evaluation, "tasks": [task]}
    file = tmp_path / "s.yaml"
    import yaml

    file.write_text(yaml.safe_dump(data))
    try:
        warnings = load_spec(file).warnings
    except NelActionError as error:
        pytest.fail(str(error))
    assert any(f"is now '{new.replace('[]', '[0]')}" in str(warning) for warning in warnings), warnings


def pattern_of(key: str) -> str:
    return key.replace(".*", "[]") if ".tasks.*" in key else key


def generic(key: str) -> str:
    return re.sub(r"^export\.\w+\.", "export.*.", key)


def test_states_and_reasons_on_the_page_are_complete() -> None:
    listed = {code(state) for _, state, _ in rows("States")} - {"—"}
    assert listed == {state.value for state in JobState}
    (reasons,) = [remark for _, state, remark in rows("States") if code(state) == "failed"]
    assert set(reasons.partition(": ")[2].split(", ")) == {reason.value for reason in Reason}
