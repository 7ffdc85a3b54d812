from __future__ import annotations

from pathlib import Path

import pytest
from tests.support.runs import make_run

from nel_action.exporters.bundle import Bundle, load_bundle
from nel_action.exporters.records import flatten, matches, provenance, records_of, unmatched_patterns
from nel_action.model.results import Score


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return load_bundle(make_run(tmp_path))


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("prompt_level", True),
        ("prompt_level_strict,none", True),
        ("ifeval.prompt_level_strict,none", True),
        ("ifeval_prompt*", True),
        ("prompt*", True),
        ("inst_level", False),
        ("gsm8k.prompt_level_strict,none", False),
    ],
)
def test_matches_names_parts_and_patterns(pattern: str, expected: bool) -> None:  # noqa: FBT001 - a table
    assert matches(pattern, "ifeval", "prompt_level_strict,none") is expected


def test_records_of_excludes_other_metrics(bundle: Bundle) -> None:
    more = (Score(metric="prompt_level", value=0.5), Score(metric="inst_level", value=0.6))
    first = bundle.results.tasks[0].model_copy(update={"scores": more})
    results = bundle.results.model_copy(update={"tasks": (first,)})
    narrowed = Bundle(results=results, run_dir=bundle.run_dir)
    assert [record.score.metric for record in records_of(narrowed, ["prompt_level"])] == ["prompt_level"]
    assert unmatched_patterns([narrowed], ["prompt_level", "promt_level"]) == ("promt_level",)


def test_only_the_judged_metric_has_a_verdict(bundle: Bundle) -> None:
    records = {record.task.task: record for record in records_of(bundle)}
    assert records["gsm8k"].verdict is not None
    assert provenance(bundle, records["gsm8k"].task)["verdict"] == "fail"


def test_flatten_stops_at_the_depth() -> None:
    nested = {"a": {"b": {"c": 1}}, "d": 2}
    assert flatten(nested) == {"a.b.c": 1, "d": 2}
    assert flatten(nested, depth=2) == {"a.b": {"c": 1}, "d": 2}
