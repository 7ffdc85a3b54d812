"""For any value in a result file, a reader returns finite scores or raises ResultsError."""

from __future__ import annotations

import json
import math
import tempfile
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.support.bindings import harness_task
from tests.support.recorded import recorded

from nel_action.errors import ResultsError
from nel_action.harnesses.registry import harness

pytestmark = pytest.mark.slow

CASES = [
    ("lm_eval", "lm_eval_sums_add", "sums_add", "results_*.json"),
    ("lm_eval", "lm_eval_sums", "sums", "results_*.json"),
    ("lm_eval", "lm_eval_sums_sub", "sums_sub", "samples_*.jsonl"),
    ("lm_eval", "lm_eval_sums", "sums", "samples_sums_mul_*.jsonl"),
    ("nemo", "nemo_sums_add", "sums_add", "results.yml"),
    ("nemo", "nemo_sums_add", "sums_add", "eval_factory_metrics.json"),
    ("nemo", "nemo_sums_add", "sums_add", "nemo-evaluator-per-sample-outputs/*.jsonl"),
    ("inspect", "inspect_sums_add", "sums.py@sums_add", "*.json"),
]

MALFORMED = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, -1, 10**400, 1e308, math.nan, math.inf, "", "N/A", "NaN", "x" * 50]),
    st.sampled_from([[], [[]], {}, {"a": None}, [None] * 3, {"value": "C"}]),
)


def paths(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the paths of all values in a document."""
    inner: list[tuple[Any, object]] = []
    if isinstance(value, dict):
        inner = list(value.items())
    elif isinstance(value, list):
        inner = list(enumerate(value))
    return [path, *(deeper for key, part in inner for deeper in paths(part, (*path, key)))] if path or inner else [path]


def load(path: Path) -> Any:  # noqa: ANN401 any document
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    return yaml.safe_load(path.read_text()) if path.suffix == ".yml" else json.loads(path.read_text())


def save(path: Path, data: Any) -> None:  # noqa: ANN401 a document
    if path.suffix == ".jsonl" and isinstance(data, list):
        path.write_text("".join(json.dumps(line) + "\n" for line in data))
    else:
        path.write_text(yaml.safe_dump(data) if path.suffix == ".yml" else json.dumps(data))


def replace(data: Any, path: tuple[Any, ...], malformed: object) -> Any:  # noqa: ANN401 a document
    if not path:
        return malformed
    inner = data
    for key in path[:-1]:
        inner = inner[key]
    inner[path[-1]] = malformed
    return data


@pytest.mark.parametrize(("name", "run", "task", "pattern"), CASES)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data(), malformed=MALFORMED)
def test_malformed_values_raise_or_yield_finite_scores(
    name: str, run: str, task: str, pattern: str, data: st.DataObject, malformed: object
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        artifacts = recorded(run, Path(folder))
        before = {score.metric: score.value for score in harness(name).read(harness_task(task), artifacts).scores}
        (file,) = artifacts.glob(pattern)
        document = load(file)
        path = data.draw(st.sampled_from(paths(document)))
        save(file, replace(document, path, malformed))
        try:
            result = harness(name).read(harness_task(task), artifacts)
            samples = list(result.samples or ())
        except ResultsError:
            return
        after = {score.metric: score.value for score in result.scores}
        assert after
        assert all(math.isfinite(value) for value in after.values())
        assert all(math.isfinite(value) for sample in samples for value in sample.scores.values())
        if path[:1] != ("results",):
            assert after == before, "only the scores of the file can change a score"
