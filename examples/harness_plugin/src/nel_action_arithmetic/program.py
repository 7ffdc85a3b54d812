"""Ask a chat endpoint arithmetic questions and write one line per answer; needs nothing but Python 3.

The first line of the file describes the run, so that the file can be judged wherever it is copied to.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ITEMS = {
    "addition": [(f"What is {n} + {3 * n + 1}?", 4 * n + 1) for n in range(2, 42)],
    "multiplication": [(f"What is {n} * {n + 4}?", n * (n + 4)) for n in range(2, 42)],
}


def ask(options: argparse.Namespace, question: str) -> str:
    """Return the model's answer; retry failed requests."""
    body = {"model": options.model, "temperature": 0, "messages": [{"role": "user", "content": question}]}
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {os.environ.get('API_KEY', '')}"}
    request = urllib.request.Request(options.url, json.dumps(body).encode(), headers)  # noqa: S310 the target's URL
    for remaining in range(options.retries, -1, -1):
        try:
            with urllib.request.urlopen(request, timeout=options.timeout) as response:  # noqa: S310 the target's URL
                return str(json.load(response)["choices"][0]["message"]["content"])
        except OSError:
            if not remaining:
                raise
    raise AssertionError


def evaluate(options: argparse.Namespace) -> None:
    """Ask every question and write the file in one step."""
    items = ITEMS[options.task][: options.limit]
    with ThreadPoolExecutor(options.parallelism) as pool:
        answers = list(pool.map(lambda item: ask(options, item[0]), items))
    header = {"task": options.task, "model": options.model, "limit": options.limit, "items": len(items)}
    records: list[dict[str, object]] = [header]
    for (question, expected), answer in zip(items, answers, strict=True):
        numbers = re.findall(r"-?\d+", answer)
        correct = bool(numbers) and int(numbers[-1]) == expected
        records.append({"question": question, "answer": answer, "expected": expected, "correct": correct})
    partial = options.output.with_suffix(".partial")
    partial.write_text("".join(json.dumps(record) + "\n" for record in records))
    partial.replace(options.output)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("task", choices=sorted(ITEMS))
    for name in ("url", "model"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--timeout", type=float, required=True)
    for name in ("parallelism", "retries", "limit"):
        parser.add_argument(f"--{name}", type=int)
    evaluate(parser.parse_args())
