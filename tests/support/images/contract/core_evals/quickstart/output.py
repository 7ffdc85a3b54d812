"""Convert the records to the result of the contract."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

from nemo_evaluator.api.api_dataclasses import (  # type: ignore[import-not-found,unused-ignore]
    EvaluationResult,
    MetricResult,
    Score,
    ScoreStats,
    TaskResult,
)


def parse_output(output_dir: str) -> EvaluationResult:
    (path,) = (Path(output_dir) / "nemo-evaluator-per-sample-outputs").glob("*.jsonl")
    scores = [json.loads(line)["score"] for line in path.read_text().splitlines()]
    stats = ScoreStats(count=len(scores), stderr=statistics.stdev(scores) / len(scores) ** 0.5)
    score = Score(value=statistics.fmean(scores), stats=stats)
    metric = MetricResult(scores={"exact_match": score})
    return EvaluationResult(tasks={path.stem: TaskResult(metrics={"exact_match": metric})})
