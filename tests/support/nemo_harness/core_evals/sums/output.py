"""Convert the records to a result of the contract."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

from nemo_evaluator.api.api_dataclasses import (  # type: ignore[import-not-found]
    EvaluationResult,
    MetricResult,
    Score,
    ScoreStats,
    TaskResult,
)


def parse_output(output_dir: str) -> EvaluationResult:
    (path,) = (Path(output_dir) / "nemo-evaluator-per-sample-outputs").glob("*.jsonl")
    hits = [json.loads(line)["score"] for line in path.read_text().splitlines()]
    stats = ScoreStats(count=len(hits), stderr=statistics.stdev(hits) / len(hits) ** 0.5)
    score = Score(value=statistics.fmean(hits), stats=stats)
    return EvaluationResult(
        tasks={path.stem: TaskResult(metrics={"accuracy": MetricResult(scores={"accuracy": score})})}
    )
