"""The user's own program as a harness: variables in, `scores.json` out. The contract is in docs/harnesses.md."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import Field, ValidationError

from nel_action.errors import Problem, ResultsError
from nel_action.formats.parsing import (
    ParsedResult,
    choose_metric,
    directed,
    expected_items,
    finite,
    json_lines,
    load_json,
    whole,
)
from nel_action.harnesses.interface import Binding, Command, Harness
from nel_action.model.results import Record, Sample, Score
from nel_action.model.task import HarnessTask, Progress

__all__ = ["HARNESS", "CommandHarness"]


class _Scores(Record):
    """The whole of `scores.json`."""

    scores: dict[str, Any]
    primary_metric: str | None = None
    n_items: int | None = None
    n_expected: int | None = None
    harness_version: str | None = None
    task_version: str | None = None
    task_hash: str | None = None
    n_shot: int | None = None
    chat_template: str | None = None
    usage: dict[str, float] = Field(default_factory=dict)


class CommandHarness:
    """Runs a program that the user wrote, as an argument list; needs no environment of its own."""

    name: Final = "command"
    requirements: Final = None

    def check(self, task: HarnessTask) -> Sequence[Problem]:
        """Say what is missing: the command itself."""
        if task.command:
            return []
        hint = 'write for instance command: [python, "{task_dir}/evaluate.py"]'
        return [Problem(f"task {task.display} of harness 'command' has no command", hint=hint)]

    def command(self, task: HarnessTask, binding: Binding) -> Command:
        """Return the user's words, with `{task_dir}`, `{output_dir}`, `{url}` and `{model_id}` filled in."""
        places = {
            "{task_dir}": str(binding.task_dir or binding.work_dir),
            "{output_dir}": str(binding.output_dir),
            "{url}": binding.url,
            "{model_id}": binding.model_id,
        }
        key = binding.api_key_name
        return Command(
            argv=tuple(_fill(word, places) for word in task.command or ()),
            env=_environment(task, binding),
            secret_env={key: key} if key else {},
        )

    def progress(self, artifacts: Path, log_tail: str) -> Progress | None:  # noqa: ARG002 the protocol's signature
        """Read `progress.json`, which the program may rewrite as it goes."""
        try:
            data = load_json(artifacts / "progress.json")
        except ResultsError:
            return None
        done = whole(data.get("done"))
        return None if done is None else Progress(done, whole(data.get("total")))

    def read(self, task: HarnessTask, artifacts: Path) -> ParsedResult:
        """Read `scores.json` and, where there is one, `samples.jsonl`.

        Raises:
            ResultsError: a file is missing, truncated or not in the documented shape, or no score is finite.
        """
        path = artifacts / "scores.json"
        data = _validate(load_json(path), path)
        scores = tuple(score for name, raw in data.scores.items() if (score := _score(name, raw, data, path)))
        if not scores:
            msg = f"{path.name} holds no finite score"
            raise ResultsError(msg, hint='write {"scores": {"accuracy": {"value": 0.5}}, "n_items": 100}')
        samples = artifacts / "samples.jsonl"
        if samples.exists():
            _count_samples(samples, data.n_items)
        limit = task.params.limit_samples
        primary = choose_metric(task.metric or data.primary_metric, [score.metric for score in scores])
        declared = data.n_expected if task.expected_items is None else None
        return ParsedResult(
            scores=directed(scores, primary, task.higher_is_better),
            primary_metric=primary,
            n_items=data.n_items,
            n_expected=declared if declared is not None else expected_items(task.expected_items, None, limit),
            harness_version=data.harness_version,
            task_version=data.task_version,
            task_hash=data.task_hash,
            n_shot=data.n_shot,
            chat_template=data.chat_template,
            usage=data.usage,
            samples=_samples(samples) if samples.exists() else None,
        )


def _fill(word: str, places: Mapping[str, str]) -> str:
    for place, value in places.items():
        word = word.replace(place, value)
    return word


def _environment(task: HarnessTask, binding: Binding) -> dict[str, str]:
    params = task.params
    values: dict[str, object] = {
        "NEL_TASK": task.name,
        "NEL_URL": binding.url,
        "NEL_MODEL_ID": binding.model_id,
        "NEL_ENDPOINT_TYPE": str(task.endpoint_type),
        "NEL_OUTPUT_DIR": binding.output_dir,
        "NEL_TASK_DIR": binding.task_dir,
        "NEL_API_KEY_NAME": binding.api_key_name,
        "NEL_LIMIT_SAMPLES": params.limit_samples,
        "NEL_PARALLELISM": params.parallelism,
        "NEL_REQUEST_TIMEOUT": params.request_timeout,
        "NEL_MAX_RETRIES": params.max_retries,
        "NEL_SEED": params.seed,
        "NEL_TEMPERATURE": params.temperature,
        "NEL_TOP_P": params.top_p,
        "NEL_MAX_NEW_TOKENS": params.max_new_tokens,
    }
    extra = {f"NEL_EXTRA_{name.upper()}": value for name, value in params.extra.items()}
    return {"PYTHONUNBUFFERED": "1"} | {n: str(v) for n, v in (values | extra).items() if v is not None}


def _validate(data: dict[str, Any], path: Path) -> _Scores:
    try:
        return _Scores.model_validate(data)
    except ValidationError as error:
        first = error.errors()[0]
        msg = f"{path.name}: {'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
        raise ResultsError(msg, hint="docs/harnesses.md shows the file's shape") from error


def _score(name: str, raw: object, data: _Scores, path: Path) -> Score | None:
    """Read one score; a bare number stands for its value. None where there is no finite value."""
    fields = raw if isinstance(raw, dict) else {"value": raw}
    if (value := finite(fields.get("value"))) is None:
        return None
    known = fields | {"value": value, "stderr": finite(fields.get("stderr")), "n": fields.get("n", data.n_items)}
    try:
        return Score.model_validate({"metric": name} | known)
    except ValidationError as error:
        first = error.errors()[0]
        msg = f"{path.name}: scores.{name}.{'.'.join(str(part) for part in first['loc'])}: {first['msg']}"
        raise ResultsError(msg, hint="docs/harnesses.md shows the file's shape") from error


def _samples(path: Path) -> Iterator[Sample]:
    for number, data in json_lines(path):
        try:
            yield Sample.model_validate(data)
        except ValidationError as error:
            first = error.errors()[0]
            place = ".".join(str(part) for part in first["loc"])
            msg = f"{path.name}, line {number}: {place}: {first['msg']}"
            raise ResultsError(msg, hint="docs/harnesses.md shows a line's shape") from error


def _count_samples(path: Path, n_items: int | None) -> None:
    """Refuse samples that cannot be this result's: other in number than its items, or twice the same."""
    seen = [(sample.id, sample.repeat) for sample in _samples(path)]
    if len(set(seen)) < len(seen):
        msg = f"{path.name} has items twice"
        raise ResultsError(msg, hint="give each item its own `id`, and each of its repeats its own `repeat`")
    if n_items is not None and len({item for item, _ in seen}) != n_items:
        msg = f"{path.name} has {len({item for item, _ in seen})} items where scores.json counts {n_items}"
        raise ResultsError(msg, hint="write all samples, or none")


HARNESS: Final[Harness] = CommandHarness()
