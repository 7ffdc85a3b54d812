"""File names: injective, invertible, valid everywhere."""

from __future__ import annotations

import re
from itertools import product

import pytest

from nel_action.model.file_names import NAME_PATTERN, file_name, original_name, unique_names
from nel_action.model.run_files import RunFiles

ALPHABET = "a_.-@/2é模\x00"


def names() -> list[str]:
    """Return every text of up to four characters of an alphabet with all special ones."""
    return ["".join(text) for length in range(5) for text in product(ALPHABET, repeat=length)]


def test_file_name_has_an_inverse_and_matches_the_pattern() -> None:
    for name in names():
        text = file_name(name)
        assert original_name(text) == name, (name, text)
        assert re.fullmatch(NAME_PATTERN, text), (name, text)
        assert original_name(file_name(name, at_sign=False)) == name
        assert re.fullmatch(r"[A-Za-z0-9._-]+", file_name(name, at_sign=False))


@pytest.mark.parametrize("name", ["gsm8k", "mmlu_pro", "lm-evaluation-harness.ifeval", "file.py@task", "a__b", "_a_"])
def test_ordinary_names_do_not_change(name: str) -> None:
    assert file_name(name) == name


@pytest.mark.parametrize("name", ["results.json", "Results.JSON", "samples", "SAMPLES", "plan.json", "nul", ".", ".."])
def test_reserved_names_are_escaped_and_read_back(name: str) -> None:
    assert file_name(name).lower() != name.lower()
    assert original_name(file_name(name)) == name


def test_no_file_of_a_run_directory_is_a_file_name_of_a_task() -> None:
    own = [value for key, value in vars(RunFiles).items() if key.isupper()]
    assert own
    assert all(file_name(name) != name for name in own)


def test_unique_names_differ_in_more_than_case() -> None:
    assert unique_names(["a", "a", "a.2", "A", "b"]) == ["a", "a.2", "a.2.2", "A.3", "b"]
