from __future__ import annotations

import json
import re
from collections import Counter

import pytest

from nel_action.catalog.lookup import catalog, lookup, relatives, search
from nel_action.errors import NotFoundError
from nel_action.model.task import EndpointType
from nel_action.spec.params import TaskParams


def test_everything_the_launcher_has_is_there() -> None:
    assert len(catalog()) == 421
    assert len({task.harness for task in catalog()}) == 23
    assert len({task.full_name for task in catalog()}) == 421


def test_every_entry_is_whole() -> None:
    for task in catalog():
        assert re.fullmatch(r"[\w.-]+(/[\w.-]+)+:[\w.-]+", task.container or ""), task.full_name
        assert re.fullmatch(r"sha256:[0-9a-f]{64}", task.digest or ""), task.full_name
        assert task.endpoint_types, task.full_name
        assert [EndpointType(kind) for kind in task.endpoint_types]
        assert task.description, task.full_name
        TaskParams.model_validate_json(json.dumps(task.params))


def test_a_harness_has_one_image() -> None:
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
def test_well_known_tasks_are_known_well(name: str, metric: str | None, higher: bool | None, items: int | None) -> None:  # noqa: FBT001
    task = lookup(name)
    assert (task.metric, task.higher_is_better, task.items) == (metric, higher, items)
    assert items is None or task.source


def test_items_are_held_against_results_only_where_these_count_them() -> None:
    assert lookup("gsm8k").expected_items == 1319
    assert lookup("AIME_2025").items == 30
    assert lookup("AIME_2025").expected_items is None


def test_repeats_are_part_of_a_metric_s_name() -> None:
    assert lookup("gpqa_diamond_aa_v3").metric == "score.micro_avg_of_5"
    assert lookup("gpqa_main").metric == "score.micro"


def test_an_ambiguous_name_lists_the_full_ones() -> None:
    with pytest.raises(
        NotFoundError, match=r"2 tasks are called 'ifeval'\n  write one of lm-.*\.ifeval, codec\.ifeval"
    ):
        lookup("ifeval")


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("ifevl", "nearest: lm-evaluation-harness.ifeval, codec.ifeval"),
        ("IFEVAL", "nearest: lm-evaluation-harness.ifeval, codec.ifeval"),
        ("lm-evaluation-harness.ifevl", "nearest: lm-evaluation-harness.ifeval"),
        ("aime2025", "AIME_2025"),
        ("xyzzy", "`nel-action ls tasks` shows all"),
    ],
)
def test_an_unknown_name_gets_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(NotFoundError, match=re.escape(nearest)):
        lookup(name)


def test_search_wants_every_word_somewhere() -> None:
    assert [task.full_name for task in search(["humaneval", "PLUS"])] == [
        "simple_evals.humanevalplus",
        "bigcode-evaluation-harness.humanevalplus",
    ]
    assert {task.name for task in search(["french"], "mmath")} == {"mmath_fr"}
    assert len(search(harness="codec")) == 27
    assert not search(["no such thing"])


def test_an_unknown_harness_lists_those_there_are() -> None:
    with pytest.raises(NotFoundError, match="no harness 'x'\n  there are: lm-evaluation-harness, mtbench"):
        search([], "x")


def test_relatives_speak_to_the_other_route() -> None:
    assert [task.name for task in relatives(lookup("gsm8k"), "chat")] == [
        "gsm8k_cot_instruct",
        "gsm8k_cot_zeroshot",
        "gsm8k_cot_llama",
        "gsm8k_cot_zeroshot_llama",
    ]
    assert not relatives(lookup("wikitext"), "chat")
