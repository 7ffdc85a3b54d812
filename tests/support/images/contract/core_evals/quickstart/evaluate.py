"""Evaluate a model on one of the quickstart's tasks, with the same prompts, limits and answer extraction as lm-eval.

An independent implementation of the same task files, so that the results of both routes can be compared.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import urllib.request
from pathlib import Path
from typing import Any

import yaml
from jinja2 import Template  # type: ignore[import-not-found,unused-ignore]

TASKS = Path(os.environ.get("QUICKSTART_TASKS", "/opt/quickstart/tasks"))
SAMPLES = "nemo-evaluator-per-sample-outputs"


def ask(options: argparse.Namespace, task: dict[str, Any], question: str) -> dict[str, Any]:
    body = {
        "model": options.model,
        "messages": [{"role": "user", "content": question}],
        "temperature": 0,
        "max_tokens": task["generation_kwargs"]["max_gen_toks"],
        "stop": task["generation_kwargs"]["until"],
        "seed": 1234,
    }
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {os.environ.get('API_KEY', 'none')}"}
    request = urllib.request.Request(options.url, json.dumps(body).encode(), headers)  # noqa: S310
    with urllib.request.urlopen(request, timeout=options.timeout) as response:  # noqa: S310
        answer: dict[str, Any] = json.load(response)
    return answer


def record(task: dict[str, Any], item: dict[str, Any], answer: dict[str, Any]) -> dict[str, Any]:
    rule = task["filter_list"][0]["filter"][0]
    text = answer["choices"][0]["message"]["content"]
    matches = re.findall(rule["regex_pattern"], text)
    answer_text = matches[rule.get("group_select", 0)] if matches else None
    expected = Template(task["doc_to_target"]).render(**item)
    return {
        "id": item["id"],
        "generation": text,
        "num_generated_tokens": answer["usage"]["completion_tokens"],
        "num_prompt_tokens": answer["usage"]["prompt_tokens"],
        "score": int(answer_text == expected),
        "score_name": "exact_match",
        "query": Template(task["doc_to_text"]).render(**item),
        "answer": answer_text,
        "ground_truth": expected,
    }


def evaluate(options: argparse.Namespace) -> None:
    name = options.task.removeprefix("quickstart_")
    task = yaml.safe_load((TASKS / f"{name}.yaml").read_text())
    lines = (TASKS / task["dataset_kwargs"]["data_files"]["test"]).read_text().splitlines()
    items = [json.loads(line) for line in lines][: options.limit]
    prompt = Template(task["doc_to_text"])
    records = [record(task, item, ask(options, task, prompt.render(**item))) for item in items]
    directory = Path(options.output_dir) / SAMPLES
    directory.mkdir(parents=True, exist_ok=True)
    (directory / f"{options.task}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in records))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for option in ("--url", "--model", "--task", "--output-dir"):
        parser.add_argument(option, required=True)
    parser.add_argument("--timeout", type=float, default=60)
    parser.add_argument("--limit", type=int)
    evaluate(parser.parse_args())
