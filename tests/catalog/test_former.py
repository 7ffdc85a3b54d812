from __future__ import annotations

import json

import pytest

from nel_action.catalog.former import FORMER, former
from nel_action.catalog.lookup import catalog, lookup
from nel_action.errors import NotFoundError


@pytest.mark.parametrize(
    ("name", "route", "full"),
    [
        ("ifeval", None, "lm-evaluation-harness.ifeval"),
        ("mmlu", "chat", "simple_evals.mmlu"),
        ("mmlu", "completions", "lm-evaluation-harness.mmlu"),
        ("mbpp", "completions", "bigcode-evaluation-harness.mbpp-completions"),
        ("bigcode-evaluation-harness.mbpp", None, "bigcode-evaluation-harness.mbpp-chat"),
        ("mgsm", "completions", "simple_evals.mgsm"),
    ],
)
def test_a_name_is_read_as_it_always_was(name: str, route: str | None, full: str) -> None:
    found = former(name, route)
    assert found is not None
    assert found.full_name == full


@pytest.mark.parametrize(("name", "route"), [("ifevall", None), ("mmlu", "embedding"), ("codec.ifeval", None)])
def test_nothing_is_made_up(name: str, route: str | None) -> None:
    assert former(name, route) is None


def test_only_names_that_are_not_clear_today_are_listed() -> None:
    listed = set(json.loads(FORMER.read_text())) - {"_"}
    for name in listed:
        with pytest.raises(NotFoundError):
            lookup(name)
    shared = {task.name for task in catalog() if sum(other.name == task.name for other in catalog()) > 1}
    assert shared - listed == {"humanevalplus"}
