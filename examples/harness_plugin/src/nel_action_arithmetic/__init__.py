"""A small arithmetic benchmark as a harness of nel-action."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from nel_action.errors import Problem, ResultsError
from nel_action.formats.parsing import (
    expected_items,
    find_files,
    parse_count,
    read_json_lines,
    recorded_task,
    schema_guard,
)
from nel_action.harnesses.interface import Binding, Command, DetectedResult, Harness, ParsedResult
from nel_action.model.results import Sample, Score
from nel_action.model.task import EndpointType, HarnessTask

__all__ = ["HARNESS", "Arithmetic"]

PROGRAM: Final = Path(__file__).with_name("program.py")
TASKS: Final = {"addition": 40, "multiplication": 40}
RESULTS: Final = "arithmetic.jsonl"
METRIC: Final = "accuracy"


class Arithmetic(Harness):
    """Asks a chat endpoint for sums and products."""

    name: Final = "arithmetic"

    def check(self, task: HarnessTask) -> Sequence[Problem]:
        """Report unknown tasks and unsupported endpoint types."""
        problems = []
        if task.name not in TASKS:
            problems.append(Problem(f"no arithmetic task {task.name!r}", hint=f"available: {', '.join(TASKS)}"))
        if task.endpoint_type is not EndpointType.CHAT:
            problems.append(Problem(f"task {task.display}: arithmetic supports chat endpoints only"))
        return problems

    def command(self, task: HarnessTask, binding: Binding) -> Command:
        """Build the command; the program travels as a file of the job."""
        options: dict[str, object] = {
            "url": binding.url,
            "model": binding.model_id,
            "output": binding.output_dir / RESULTS,
            "timeout": task.params.request_timeout,
            "retries": task.params.max_retries,
            "parallelism": task.params.parallelism,
        }
        if task.params.limit_samples is not None:
            options["limit"] = expected_items(TASKS[task.name], None, task.params.limit_samples)
        key = binding.api_key_name
        argv = ["python3", str(binding.work_dir / PROGRAM.name), task.name]
        return Command(
            argv=(*argv, *(part for name, value in options.items() for part in (f"--{name}", str(value)))),
            secret_env={"API_KEY": key} if key else {},
            files={PROGRAM.name: PROGRAM.read_text(encoding="utf-8")},
        )

    def read(self, task: HarnessTask, artifacts: Path) -> ParsedResult:
        """Read the accuracy and the samples.

        Raises:
            ResultsError: the file is missing, truncated, or of another task.
        """
        path = artifacts / RESULTS if artifacts.is_dir() else artifacts
        header = _header(path)
        samples = list(_samples(path))
        expected = parse_count(header.get("items"))
        if header.get("task") != task.name:
            msg = f"{path.name} contains results of {header.get('task')}, not of {task.name}"
            raise ResultsError(msg)
        if not samples or expected != len(samples):
            msg = f"{path.name} has {len(samples)} of {expected} answers"
            raise ResultsError(msg, hint="the job may have been stopped while writing")
        mean = sum(sample.scores[METRIC] for sample in samples) / len(samples)
        stderr = math.sqrt(mean * (1 - mean) / len(samples))
        score = Score(metric=METRIC, value=mean, stderr=stderr, n=len(samples), higher_is_better=True)
        return ParsedResult(
            scores=(score,),
            primary_metric=METRIC,
            n_items=len(samples),
            n_expected=expected_items(TASKS.get(task.name), None, task.params.limit_samples),
            harness_version="0.1.0",
            samples=samples,
        )

    def detect(self, path: Path) -> Sequence[DetectedResult]:
        """Find `arithmetic.jsonl` files.

        Raises:
            ResultsError: a file of that name is truncated.
        """
        return [_detected(file) for file in find_files(path, (RESULTS, f"**/{RESULTS}"))]


def _header(path: Path) -> dict[str, Any]:
    for _, header in read_json_lines(path):
        return header
    msg = f"{path.name} is empty"
    raise ResultsError(msg)


def _samples(path: Path) -> Iterator[Sample]:
    with schema_guard(path.name):
        for number, record in read_json_lines(path):
            if number > 1:
                yield Sample(
                    id=record["question"],
                    scores={METRIC: float(record["correct"])},
                    input=record["question"],
                    output=record["answer"],
                    expected=str(record["expected"]),
                )


def _detected(path: Path) -> DetectedResult:
    header = _header(path)
    with schema_guard(path.name):
        limit = header["limit"]
        return DetectedResult(
            task=recorded_task(header["task"], limit=limit),
            artifacts=path,
            model=header["model"],
            params={"limit_samples": limit},
        )


HARNESS: Final[Harness] = Arithmetic()
