"""Ask a model for sums and products, score the answers and write one record per question."""

from __future__ import annotations

import argparse
import json
import os
import re
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ITEMS = {
    "add": [(f"What is {n} + {n * 3 + 1}?", n + n * 3 + 1) for n in range(2, 22)],
    "mul": [(f"What is {n} * {n + 4}?", n * (n + 4)) for n in range(2, 14)],
}
SAMPLES = "nemo-evaluator-per-sample-outputs"


def ask(options: argparse.Namespace, question: str) -> tuple[str, dict[str, int]]:
    body = {
        "model": options.model,
        "temperature": options.temperature,
        "max_tokens": options.max_tokens,
        "messages": [{"role": "user", "content": question}],
    }
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {os.environ.get('API_KEY', '')}"}
    request = urllib.request.Request(options.url, json.dumps(body).encode(), headers)  # noqa: S310
    for remaining in range(options.retries, -1, -1):
        try:
            with urllib.request.urlopen(request, timeout=options.timeout) as response:  # noqa: S310
                answer = json.load(response)
            return answer["choices"][0]["message"]["content"], answer["usage"]
        except OSError:
            if not remaining:
                raise
    raise AssertionError


def evaluate(options: argparse.Namespace) -> None:
    items = ITEMS[options.kind][: options.limit]
    with ThreadPoolExecutor(options.parallelism) as pool:
        answers = list(pool.map(lambda item: ask(options, item[0]), items))
    records = []
    for number, ((question, expected), (text, usage)) in enumerate(zip(items, answers, strict=True)):
        numbers = re.findall(r"-?\d+", text)
        records.append(
            {
                "id": f"{options.kind}-{number}",
                "generation": text,
                "num_generated_tokens": usage["completion_tokens"],
                "num_prompt_tokens": usage["prompt_tokens"],
                "score": int(bool(numbers) and int(numbers[-1]) == expected),
                "score_name": "accuracy",
                "query": question,
                "answer": numbers[-1] if numbers else None,
                "ground_truth": expected,
            }
        )
    folder = Path(options.output_dir) / SAMPLES
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{options.kind}.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for name, kind in {"url": str, "model": str, "kind": str, "output-dir": str, "temperature": float}.items():
        parser.add_argument(f"--{name}", type=kind, required=True)
    for name in ("parallelism", "timeout", "retries", "max-tokens", "limit"):
        parser.add_argument(f"--{name}", type=int)
    evaluate(parser.parse_args())
