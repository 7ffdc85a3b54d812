from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

from nel_action.catalog.convert import ANNOTATIONS, annotate, dump, from_frameworks, from_launcher
from nel_action.catalog.lookup import DATA, parse_catalog

FRAMEWORK = Path(__file__).parents[1] / "support/nemo_harness/core_evals/sums/framework.yml"

LISTING = {
    "harnesses": [
        {
            "name": "simple_evals",
            "full_name": "simple-evals",
            "url": "https://example.org",
            "container": "registry.example/simple-evals:1",
            "container_digest": "sha256:" + "0" * 64,
            "description": "external description",
        }
    ],
    "tasks": [
        {
            "name": "humaneval",
            "harness": "simple_evals",
            "description": "external description",
            "defaults": {
                "command": "run it",
                "config": {
                    "type": "humaneval",
                    "supported_endpoint_types": ["chat", "completions_logprob"],
                    "params": {"task": "he", "parallelism": 10, "limit_samples": None, "extra": {"judge": 1}},
                },
            },
        }
    ],
}


def test_from_launcher_keeps_facts_and_drops_descriptions() -> None:
    data = from_launcher(LISTING)
    assert data["tasks"] == [
        {
            "harness": "simple_evals",
            "name": "humaneval",
            "routes": ["chat", "completions_logprobs"],
            "params": {"parallelism": 10},
        }
    ]
    assert "external description" not in json.dumps(data)


def test_from_frameworks_merges_the_defaults_of_a_container() -> None:
    framework = yaml.safe_load(FRAMEWORK.read_text())
    data = annotate(from_frameworks([framework], container="mine:1", digest=None))
    add, mul = parse_catalog(data)
    assert (add.full_name, mul.full_name) == ("sums.sums_add", "sums.sums_mul")
    assert (add.container, add.digest, add.endpoint_types) == ("mine:1", None, ("chat",))
    assert add.params == {
        "parallelism": 4,
        "max_retries": 2,
        "request_timeout": 30,
        "temperature": 0.0,
        "max_new_tokens": 64,
    }


def test_annotate_adds_metric_direction_items_and_description() -> None:
    (task,) = parse_catalog(annotate(from_launcher(LISTING)))
    assert (task.metric, task.higher_is_better, task.items) == ("score.micro", True, 164)
    assert task.description == "Python functions from their docstrings, run against tests"


def test_dump_preserves_the_data() -> None:
    data = annotate(from_launcher(LISTING))
    assert json.loads(dump(data)) == data


def test_the_data_contains_the_current_annotations() -> None:
    """After a change to annotations.json, scripts/refresh-catalog must run."""
    data = json.loads(DATA.read_text())
    unannotated = [{key: task[key] for key in ("harness", "name", "routes", "params")} for task in data["tasks"]]
    assert dump(annotate(data | {"tasks": unannotated})) == DATA.read_text()


@pytest.mark.parametrize("rule", json.loads(ANNOTATIONS.read_text())["rules"], ids=lambda rule: rule["match"])
def test_every_annotation_rule_matches_a_task(rule: dict[str, Any]) -> None:
    names = [f"{task['harness']}.{task['name']}" for task in json.loads(DATA.read_text())["tasks"]]
    assert any(re.fullmatch(rule["match"], name) for name in names)
    assert "items" not in rule or rule.get("source") or rule["match"].startswith("AA-LCR")


def test_language_names_are_unique() -> None:
    names = json.loads(ANNOTATIONS.read_text())["languages"]
    assert [name for name, count in Counter(names.values()).items() if count > 1] == []
