"""A small arithmetic task for tests of the inspect harness."""

from __future__ import annotations

from typing import Any

from inspect_ai import Task, task  # type: ignore[import-not-found]
from inspect_ai.dataset import Sample, json_dataset  # type: ignore[import-not-found]
from inspect_ai.scorer import match  # type: ignore[import-not-found]
from inspect_ai.solver import generate  # type: ignore[import-not-found]


def sample(record: dict[str, Any]) -> Sample:
    return Sample(input=record["question"], target=record["answer"])


@task  # type: ignore[untyped-decorator,unused-ignore]
def sums_add(times: int = 1) -> Task:
    return Task(
        dataset=json_dataset("data/add.jsonl", sample),
        solver=generate(),
        scorer=match(numeric=True),
        epochs=times,
        version=2,
    )
