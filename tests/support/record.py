"""Record the outputs again with the real harnesses: `python -m tests.support.record`."""

from __future__ import annotations

import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

from tests.doubles.openai_server import OpenAIServer
from tests.support.bindings import harness_task
from tests.support.real_harness import run_harness
from tests.support.recorded import RECORDED

from nel_action.model.task import EndpointType, HarnessTask

HERE = Path(__file__).parent
FOLDERS = {"lm_eval": "lm_eval_tasks", "nemo": "nemo_harness", "inspect": "inspect_tasks"}
IGNORED = ("report.*", "cache", "response_stats_cache", "run_times", "metadata.yaml", ".*")
UNUSED_KEYS = ("events", "events_data", "attachments", "store", "messages")


def runs() -> dict[str, tuple[str, HarnessTask, str]]:
    """Return the recorded runs: directory → harness, task, route."""
    choice = harness_task("sums_sub", endpoint_type=EndpointType.COMPLETIONS_LOGPROBS)
    return {
        "lm_eval_sums": ("lm_eval", harness_task("sums"), "chat"),
        "lm_eval_sums_macro": ("lm_eval", harness_task("sums_macro"), "chat"),
        "lm_eval_sums_add": ("lm_eval", harness_task("sums_add"), "chat"),
        "lm_eval_sums_sub": ("lm_eval", choice, "completions"),
        "nemo_sums_add": ("nemo", harness_task("sums_add"), "chat"),
        "inspect_sums_add": ("inspect", harness_task("sums.py@sums_add", extra={"task_args": {"times": 2}}), "chat"),
    }


def shorten(log: dict[str, Any]) -> None:
    """Remove parts of an inspect log that no reader uses or that describe this machine."""
    log["eval"].pop("revision", None)
    for sample in log["samples"]:
        for name in UNUSED_KEYS:
            sample[name] = type(sample[name])()


def record(name: str, harness: str, task: HarnessTask, url: str, scratch: Path) -> None:
    """Run once and copy the artifacts, with the paths of this machine replaced."""
    folder = HERE / FOLDERS[harness]
    finished = run_harness(harness, task, scratch / name, url=url, task_dir=folder)
    assert finished.exit_code == 0, finished.log[-2000:]
    shutil.rmtree(RECORDED / name, ignore_errors=True)
    shutil.copytree(finished.artifacts, RECORDED / name, ignore=shutil.ignore_patterns(*IGNORED))
    for path in (RECORDED / name).rglob("*"):
        if path.is_file():
            text = path.read_text().replace(str(finished.artifacts), "/results").replace(str(folder), "/tasks")
            if harness == "inspect":
                log = json.loads(text)
                shorten(log)
                text = json.dumps(log, indent=1) + "\n"
            path.write_text(text)


if __name__ == "__main__":
    with OpenAIServer() as server, tempfile.TemporaryDirectory() as scratch:
        for name, (harness, task, route) in runs().items():
            record(name, harness, task, server.url(route), Path(scratch))
