from __future__ import annotations

import json
import re
from collections import Counter

import pytest

from nel_action.catalog.lookup import (
    FORMER_NAMES,
    catalog,
    filter_tasks,
    lookup,
    lookup_former_name,
    relatives,
)
from nel_action.errors import NotFoundError
from nel_action.model.task import EndpointType
from nel_action.spec.evaluation import TaskParams


def test_the_catalog_has_every_task_of_the_launcher() -> None:
    assert len(catalog()) == 421
    assert len({task.harness for task in catalog()}) == 23
    assert len({task.full_name for task in catalog()}) == 421


def test_every_entry_is_complete_and_valid() -> None:
    for task in catalog():
        assert re.fullmatch(r"[\w.-]+(/[\w.-]+)+:[\w.-]+", task.container or ""), task.full_name
        assert re.fullmatch(r"sha256:[0-9a-f]{64}", task.digest or ""), task.full_name
        assert task.endpoint_types, task.full_name
        assert [EndpointType(kind) for kind in task.endpoint_types]
        assert task.description, task.full_name
        TaskParams.model_validate_json(json.dumps(task.params))


def test_each_harness_has_one_image() -> None:
    images = {(task.harness, task.container, task.digest) for task in catalog()}
    assert Counter(harness for harness, _, _ in images).most_common(1)[0][1] == 1


@pytest.mark.parametrize(
    ("name", "metric", "higher", "items"),
    [
        ("lm-evaluation-harness.ifeval", "prompt_level_strict_acc", True, 541),
        ("gsm8k", "exact_match__strict-match", True, 1319),
        ("lm-evaluation-harness.mmlu", "exact_match", True, 14042),
        ("simple_evals.gpqa_diamond", "score.micro", True, 198),
        ("AIME_2025", "score.micro_avg_of_10", True, 30),
        ("wikitext", "word_perplexity", False, None),
        ("codec.ifeval", None, None, None),
    ],
)
def test_common_tasks_have_metric_direction_and_items(
    name: str,
    metric: str | None,
    higher: bool | None,  # noqa: FBT001
    items: int | None,
) -> None:
    task = lookup(name)
    assert (task.metric, task.higher_is_better, task.items) == (metric, higher, items)
    assert items is None or task.source


def test_expected_items_is_none_if_results_do_not_count_items() -> None:
    assert lookup("gsm8k").expected_items == 1319
    assert lookup("AIME_2025").items == 30
    assert lookup("AIME_2025").expected_items is None


def test_metric_names_include_the_number_of_repeats() -> None:
    assert lookup("gpqa_diamond_aa_v3").metric == "score.micro_avg_of_5"
    assert lookup("gpqa_main").metric == "score.micro"


def test_lookup_lists_the_full_names_of_an_ambiguous_name() -> None:
    with pytest.raises(
        NotFoundError, match=r"'ifeval' is ambiguous: 2 harnesses have it\n  use one of lm-.*\.ifeval, codec\.ifeval"
    ):
        lookup("ifeval")


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("ifevl", "nearest: lm-evaluation-harness.ifeval, codec.ifeval"),
        ("IFEVAL", "nearest: lm-evaluation-harness.ifeval, codec.ifeval"),
        ("lm-evaluation-harness.ifevl", "nearest: lm-evaluation-harness.ifeval"),
        ("aime2025", "AIME_2025"),
        ("xyzzy", "`nel-action ls tasks` lists all tasks"),
    ],
)
def test_lookup_suggests_similar_names(name: str, nearest: str) -> None:
    with pytest.raises(NotFoundError, match=re.escape(nearest)):
        lookup(name)


def test_filter_tasks_requires_every_term() -> None:
    assert [task.full_name for task in filter_tasks(catalog(), ["humaneval", "PLUS"], None)] == [
        "simple_evals.humanevalplus",
        "bigcode-evaluation-harness.humanevalplus",
    ]
    assert {task.name for task in filter_tasks(catalog(), ["french"], "mmath")} == {"mmath_fr"}
    assert len(filter_tasks(catalog(), [], "codec")) == 27
    assert not filter_tasks(catalog(), ["no such thing"], None)


def test_filter_tasks_lists_the_available_harnesses() -> None:
    with pytest.raises(NotFoundError, match="no harness 'x'\n  available: lm-evaluation-harness, mtbench"):
        filter_tasks(catalog(), [], "x")


def test_relatives_support_the_endpoint_type() -> None:
    assert [task.name for task in relatives(lookup("gsm8k"), "chat")] == [
        "gsm8k_cot_instruct",
        "gsm8k_cot_zeroshot",
        "gsm8k_cot_llama",
        "gsm8k_cot_zeroshot_llama",
    ]
    assert not relatives(lookup("wikitext"), "chat")


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
def test_lookup_former_name_returns_the_benchmark_of_earlier_releases(name: str, route: str | None, full: str) -> None:
    task = lookup_former_name(name, route)
    assert task is not None
    assert task.full_name == full


@pytest.mark.parametrize(("name", "route"), [("ifevall", None), ("mmlu", "embedding"), ("codec.ifeval", None)])
def test_lookup_former_name_returns_none_for_other_names_and_endpoint_types(name: str, route: str | None) -> None:
    assert lookup_former_name(name, route) is None


def test_former_names_are_ambiguous_or_unknown_today() -> None:
    listed = set(json.loads(FORMER_NAMES.read_text())) - {"_"}
    for name in listed:
        with pytest.raises(NotFoundError):
            lookup(name)
    shared = {task.name for task in catalog() if sum(other.name == task.name for other in catalog()) > 1}
    assert shared - listed == {"humanevalplus"}
