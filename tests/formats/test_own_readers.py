"""Recorded results, read here and by the program that wrote them: the scores are the same.

The values are those that each program's own reader returned for the recorded file: `read_eval_log` of inspect 0.3.285,
`TestRun` of DeepEval 4.3.1, `load_dataset` as lighteval 0.13.0 reads its details; lm-eval and promptfoo have no reader
and state the values in the file.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from nel_action.gating.external import open_run

RECORDED = Path(__file__).parent / "recorded"
VALUES: dict[str, dict[str, dict[str, float]]] = {
    "inspect_grouped_n.json": {
        "groups": {"grp.b": 0.5714285714285714, "grp.a": 0.5769230769230769, "grp.all": 0.575},
    },
    "inspect_limit_range.json": {"": {"match.accuracy": 0.0, "includes.accuracy": 0.0}},
    "inspect_sample_id.json": {"": {"match.accuracy": 0.0, "includes.accuracy": 0.0}},
    "inspect_reducers.json": {
        "": {
            "cipn.accuracy": 0.4791666666666667,
            "cipn.accuracy,max": 0.7875,
            "cipn.accuracy,at_least_2": 0.375,
            "cipn.accuracy,pass_at_2": 0.5916666666666667,
        }
    },
    "inspect_reducers_others_fell.json": {"": {"cipn.accuracy": 0.4791666666666667, "cipn.accuracy,max": 0.1}},
    "deepeval_results_folder.json": {"deepeval": {"Exact": 5 / 6, "Length": 2 / 5, "Length.pass_rate": 1 / 5}},
    "deepeval_latest_test_run.json": {"deepeval": {"Exact": 5 / 6, "Length": 2 / 5}},
    "promptfoo.json": {
        "What is {{n}} + 1?": {"pass_rate": 3 / 4, "score": 2.75 / 4, "exact": 3 / 4},
        "Compute {{n}} + 1.": {"pass_rate": 3 / 4, "score": 2.75 / 4, "exact": 3 / 4},
    },
    "lm_eval_group": {
        "t_gen": {"exact_match,strict": 0.5, "exact_match,maj3": 0.5},
        "t_ppl": {"word_perplexity,none": 26.109624227939157, "bits_per_byte,none": 0.8321212217143635},
        "t_grp": {"acc,none": 0.2875},
    },
    "lm_eval_group_without_score": {
        "t_mc": {"acc,none": 0.3, "acc_norm,none": 0.2833333333333333},
        "t_mc_small": {"acc,none": 0.25, "acc_norm,none": 0.2},
    },
}
"""File, task (empty: the only one), metric and value."""


@pytest.mark.parametrize("name", VALUES)
def test_scores_are_those_of_the_programs_own_reader(name: str) -> None:
    results = open_run(RECORDED / name).with_tasks([task for task in VALUES[name] if task]).results.tasks
    for task, values in VALUES[name].items():
        (result,) = (result for result in results if task in {"", result.task})
        scores = {score.metric: score.value for score in result.scores}
        assert {metric: scores[metric] for metric in values} == pytest.approx(values, abs=1e-12)


def test_items_of_lighteval_are_those_of_its_own_reader(tmp_path: Path) -> None:
    time = "2026-11-30T23-07-56.855389"
    details = tmp_path / "details" / "fixed" / time
    details.mkdir(parents=True)
    (tmp_path / "results" / "fixed").mkdir(parents=True)
    source = RECORDED / "lighteval_details"
    shutil.copy(source / f"results_{time}.json", tmp_path / "results" / "fixed")
    shutil.copy(source / "details_sums_0.parquet", details / f"details_sums|0_{time}.parquet")
    run = open_run(tmp_path)
    (result,) = (result for result in run.results.tasks if result.task == "sums|0")
    items = run.items(result, "em")
    assert items is not None
    own = {"3": 0, "4": 1, "6": 0, "7": 1, "2": 1, "5": 1, "0": 1, "1": 1}
    assert dict(zip(items.index, items.values.tolist(), strict=True)) == own
