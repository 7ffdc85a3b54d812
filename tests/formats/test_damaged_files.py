"""Damaged result files of every format: an error or an unmeasurable task, never a traceback or another score."""

from __future__ import annotations

import json
import math
import random
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from tests.support.bundles import bundle

from nel_action.errors import ResultsError
from nel_action.gating.external import open_run
from nel_action.gating.result_set import ResultSet
from nel_action.gating.task_samples import load_samples
from nel_action.model.results import Score

pytestmark = pytest.mark.slow

HERE = Path(__file__).parent / "recorded"
HARNESSES = Path(__file__).parents[1] / "harnesses" / "recorded"
MALFORMED: tuple[object, ...] = (None, True, math.nan, 10**400, -1, "", "N/A", [], [None], {}, {"a": None})
INCOMPLETE = {"deepeval", "harbor", "promptfoo"}
"""Formats whose recorded result lacks items."""
DAMAGES = 40
"""Damages of each recorded result: every other one cuts a file."""
FORMATS: dict[str, tuple[Path, frozenset[str]]] = {
    "junit": (HERE / "junit_pytest.xml", frozenset()),
    "promptfoo": (HERE / "promptfoo.json", frozenset({"success", "score", "namedScores", "gradingResult"})),
    "deepeval": (HERE / "deepeval_results_folder.json", frozenset({"success", "score"})),
    "lighteval": (HERE / "lighteval", frozenset({"results"})),
    "every_eval_ever": (HERE / "every_eval_ever", frozenset({"score"})),
    "harbor": (HERE / "harbor", frozenset({"rewards", "reward", "reward_valid", "verifier_result"})),
    "scores_json": (HERE / "scores_json" / "sums", frozenset({"scores", "value"})),
    "lm_eval": (HERE / "lm_eval_group", frozenset({"results", "acc", "exact_match", "word_perplexity"})),
    "lm_eval_without_samples": (HERE / "lm_eval_without_samples", frozenset({"results"})),
    "inspect": (HERE / "inspect_sample_id.json", frozenset({"value", "scores"})),
    "inspect_grouped": (HERE / "inspect_grouped_n.json", frozenset({"value", "scores"})),
    "nemo_evaluator": (HERE, frozenset({"value", "scores", "reward", "benchmark"})),
    "nemo": (HARNESSES / "nemo_sums_add", frozenset({"value", "scores"})),
}
"""From a format to a recorded result and the keys whose values are scores, which a damage may change."""


def paths(value: object, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the paths of all values in a document."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, part in inner:
        yield (*path, key)
        yield from paths(part, (*path, key))


def replace(document: Any, path: tuple[Any, ...], value: object) -> None:  # noqa: ANN401 any document
    for key in path[:-1]:
        document = document[key]
    document[path[-1]] = value


def cut(file: Path, source: random.Random) -> tuple[Any, ...]:
    data = file.read_bytes()
    file.write_bytes(data[: source.randrange(len(data))].rstrip())
    return ()


def damage(file: Path, source: random.Random) -> tuple[Any, ...]:
    """Replace one value of a JSON file by a malformed one; return its path."""
    lines = file.read_text().splitlines() if file.suffix == ".jsonl" else [file.read_text()]
    row = source.randrange(len(lines))
    document = json.loads(lines[row])
    path = source.choice(list(paths(document)))
    replace(document, path, source.choice(MALFORMED))
    lines[row] = json.dumps(document)
    file.write_text("\n".join(lines))
    return path


def measured(run: ResultSet, *, incomplete: bool) -> dict[tuple[str, str], Score]:
    """Return the scores of a run that can be judged: of complete results, and not contradicted by their items.

    Args:
        run: the run.
        incomplete: include those of incomplete results as well.
    """
    scores = {}
    for result in run.results.tasks:
        is_short = None not in (result.n_items, result.n_expected) and (result.n_items or 0) < (result.n_expected or 0)
        for score in () if result.reason or (is_short and not incomplete) else result.scores:
            is_partial = None not in (score.n, result.n_items) and (score.n or 0) + score.excluded < (
                result.n_items or 0
            )
            with suppress(ResultsError):
                if not incomplete:
                    load_samples(run, result, score)
                if incomplete or not is_partial:
                    scores[result.task, score.metric] = score
    return scores


@pytest.mark.parametrize("name", FORMATS)
def test_damaged_file_is_an_error_or_keeps_its_scores(tmp_path: Path, name: str) -> None:
    recorded, score_keys = FORMATS[name]
    if name == "nemo_evaluator":
        recorded = bundle(tmp_path / "bundle", [0.0] * 10 + [1.0] * 30, repeats=2)
    incomplete = name in INCOMPLETE
    before = measured(open_run(recorded), incomplete=incomplete)
    assert before
    source, refused = random.Random(name), 0  # noqa: S311 reproducible damages
    for number in range(DAMAGES):
        copy = tmp_path / str(number) / recorded.name
        copy.parent.mkdir()
        shutil.copytree(recorded, copy) if recorded.is_dir() else shutil.copy(recorded, copy)
        files = sorted(file for file in copy.rglob("*") if file.is_file()) if copy.is_dir() else [copy]
        file = source.choice(files)
        is_json = file.suffix in {".json", ".jsonl"}
        path = damage(file, source) if is_json and number % 2 else cut(file, source)
        after: dict[tuple[str, str], Score] = {}
        with suppress(ResultsError):
            after = measured(open_run(copy), incomplete=incomplete)
        refused += len(after) < len(before)
        assert all(math.isfinite(score.value) for score in after.values())
        if score_keys.isdisjoint(map(str, path)):
            for key in after.keys() & before.keys():
                where = f"{key}: {file.name}: {path or 'cut'}"
                lost = incomplete and (after[key].n or 0) < (before[key].n or 0)
                assert lost or after[key].value == pytest.approx(before[key].value, abs=1e-9), where
                assert lost or after[key].n == before[key].n, where
    assert refused >= DAMAGES // 4, "cut files are refused"
