"""A user's own program as a harness: parameters in the environment, results in `scores.json` (docs/harnesses.md)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from nel_action.errors import Problem, ResultsError
from nel_action.formats import scores_json
from nel_action.formats.parsing import DetectedResult, ParsedResult, load_json, parse_count
from nel_action.harnesses.interface import Binding, Command, Harness
from nel_action.model.task import HarnessTask, Progress

__all__ = ["HARNESS", "CommandHarness"]


class CommandHarness(Harness):
    """Runs a program of the user by its argument list; has no environment of its own."""

    name: Final = "command"

    def check(self, task: HarnessTask) -> Sequence[Problem]:
        """Report a task without a command."""
        if task.command:
            return []
        hint = 'for example, command: [python, "{task_dir}/evaluate.py"]'
        return [Problem(f"task {task.display} of harness 'command' has no command", hint=hint)]

    def command(self, task: HarnessTask, binding: Binding) -> Command:
        """Return the user's command with `{task_dir}`, `{output_dir}`, `{url}` and `{model_id}` substituted."""
        values = {
            "{task_dir}": str(binding.task_dir or binding.work_dir),
            "{output_dir}": str(binding.output_dir),
            "{url}": binding.url,
            "{model_id}": binding.model_id,
        }
        key = binding.api_key_name
        return Command(
            argv=tuple(_substitute(argument, values) for argument in task.command or ()),
            env=_environment(task, binding),
            secret_env={key: key} if key else {},
        )

    def progress(self, artifacts: Path, log_tail: str) -> Progress | None:  # noqa: ARG002 part of the interface
        """Read `progress.json`, which the program may rewrite while it runs."""
        try:
            data = load_json(artifacts / "progress.json")
        except ResultsError:
            return None
        done = parse_count(data.get("done"))
        return None if done is None else Progress(done, parse_count(data.get("total")))

    def read(self, task: HarnessTask, artifacts: Path) -> ParsedResult:
        """Read `scores.json` and, if present, `samples.jsonl`.

        Raises:
            ResultsError: a file is missing, truncated or not as documented, or no score is finite.
        """
        return scores_json.read(artifacts, task)

    def detect(self, path: Path) -> Sequence[DetectedResult]:
        """Find `scores.json`."""
        return scores_json.detect(path)


def _substitute(argument: str, values: Mapping[str, str]) -> str:
    for placeholder, value in values.items():
        argument = argument.replace(placeholder, value)
    return argument


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
    return {"PYTHONUNBUFFERED": "1"} | {name: str(v) for name, v in (values | extra).items() if v is not None}


HARNESS: Final[Harness] = CommandHarness()
