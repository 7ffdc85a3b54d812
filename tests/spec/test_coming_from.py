"""The page for people who come from the launcher tells the truth: its flags, keys, states and renamings are there."""

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
    """Yield the cells of a section's table."""
    text = PAGE.read_text().partition(f"\n## {section}\n")[2].partition("\n## ")[0]
    table = [line for line in text.splitlines() if line.startswith("|")][2:]
    for line in table:
        yield [cell.strip() for cell in line.strip("|").split("|")]


def code(cell: str) -> str:
    found = re.match(r"`([^`]+)`", cell)
    return found[1] if found else cell


def command(words: list[str]) -> click.Command:
    """Find a command by its words."""
    found: click.Command = root
    context = click.Context(root)
    for word in words:
        assert isinstance(found, click.Group)
        below = found.get_command(context, word)
        assert below is not None, words
        found = below
    return found


def test_every_command_and_option_of_the_launcher_has_its_row() -> None:
    told = {code(first) for first, *_ in rows("Commands and flags")}
    wanted = set(LAUNCHER) | {f"{name} --{flag}" for name, flags in LAUNCHER.items() for flag in flags.split()}
    assert told == wanted


def test_every_option_that_is_named_is_there() -> None:
    for first, ours, what in rows("Commands and flags"):
        if ours == "—":
            assert what.startswith("gone: "), first
            continue
        *words, last = code(ours).split()
        option = last if last.startswith("-") else None
        found = command(words if option else [*words, last])
        assert option is None or any(option in one.opts for one in found.params), ours
        for other in re.findall(r"`(--?[a-z-]+)`", what):
            known = [*found.params, *root.params, *command(["run"]).params]
            assert other == "--version" or any(other in [*one.opts, *one.secondary_opts] for one in known), other


def place(key: str) -> tuple[str | int, ...]:
    parts: list[str | int] = []
    for part in key.split("."):
        name, star, _ = part.partition("[")
        parts += [name, 0] if star else [name]
    return tuple(parts)


def test_every_key_is_known() -> None:
    for key, what in rows("Keys"):
        name = code(key)
        if name == "defaults" or what.startswith("gone: "):
            continue
        known = is_known_key(place(name)) or (name.startswith("export.") and name.count(".") == 1)
        assert known, name


def test_the_groups_are_there() -> None:
    (what,) = [what for key, what in rows("Keys") if code(key) == "defaults"]
    groups = re.findall(r"`(?:execution: |deployment: )?([a-z_/]+)`", what)
    folder = Path(load_spec.__code__.co_filename).parent / "groups"
    for group in groups:
        assert list(folder.glob(f"*/{group}.yaml")), group
    assert len(groups) == 11


@pytest.mark.parametrize(("was", "now"), [(code(row[0]), code(row[1])) for row in rows("Renamed keys")])
def test_a_renamed_key_is_accepted_with_a_warning_that_names_the_new_one(was: str, now: str, tmp_path: Path) -> None:
    assert any(pattern_of(old) == generic(was) and pattern_of(new) == generic(now) for old, new in MOVES), was
    value: object = 3 if was.endswith("max_tokens") else True if ".log_" in was else {}
    data: object = value
    for part in reversed(place(was)):
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
    assert any(f"is now '{now.replace('[]', '[0]')}" in str(warning) for warning in warnings), warnings


def pattern_of(key: str) -> str:
    return key.replace(".*", "[]") if ".tasks.*" in key else key


def generic(key: str) -> str:
    return re.sub(r"^export\.\w+\.", "export.*.", key)


def test_states_are_those_of_the_program() -> None:
    told = {code(ours) for _, ours, _ in rows("States")} - {"—"}
    assert told == {state.value for state in JobState}
    (reasons,) = [what for _, ours, what in rows("States") if code(ours) == "failed"]
    assert set(reasons.partition(": ")[2].split(", ")) == {reason.value for reason in Reason}
