from __future__ import annotations

import json
import subprocess
import sys

import pytest

from nel_action.cli.tasks import print_task, print_tasks
from nel_action.errors import NotFoundError


def listed(capsys: pytest.CaptureFixture[str], *terms: str, harness: str | None = None, as_json: bool = False) -> str:
    assert print_tasks(terms, harness=harness, from_container=None, as_json=as_json) == 0
    return capsys.readouterr().out


def test_print_tasks_groups_by_harness_and_aligns_columns(capsys: pytest.CaptureFixture[str]) -> None:
    lines = listed(capsys, "mbpp", "plus", harness="bigcode-evaluation-harness").splitlines()
    assert lines == [
        "bigcode-evaluation-harness  nvcr.io/nvidia/eval-factory/bigcode-evaluation-harness:26.03",
        "  mbppplus-chat         chat         pass@1 ↑  378  Small Python programs, run against many tests",
        "  mbppplus-completions  completions  pass@1 ↑  378  Small Python programs, run against many tests",
        "  mbppplus_nemo         chat         pass@1 ↑  378  Small Python programs, run against many tests",
        "",
        "3 tasks of 1 harness",
    ]


def test_print_tasks_without_terms_lists_the_catalog(capsys: pytest.CaptureFixture[str]) -> None:
    assert listed(capsys).endswith("421 tasks of 23 harnesses\n")
    assert len(json.loads(listed(capsys, as_json=True))) == 421


def test_print_tasks_reports_that_no_task_matches(capsys: pytest.CaptureFixture[str]) -> None:
    assert listed(capsys, "nowhere") == "no task matches; `nel-action ls tasks` lists all tasks\n"
    assert json.loads(listed(capsys, "nowhere", as_json=True)) == []


def test_print_tasks_as_json_has_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    (task,) = json.loads(listed(capsys, "gsm8k", "cot_instruct", as_json=True))
    assert task["full_name"] == "lm-evaluation-harness.gsm8k_cot_instruct"
    assert task["items"] == 1319
    assert task["params"]["parallelism"] == 10


def test_print_task_shows_every_field(capsys: pytest.CaptureFixture[str]) -> None:
    assert print_task("gsm8k", as_json=False) == 0
    shown = dict(line.split(maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert shown["full_name"] == "lm-evaluation-harness.gsm8k"
    assert shown["items"] == "1,319"
    assert shown["higher_is_better"] == "yes"
    assert "request_timeout=30" in shown["params"]
    assert print_task("gsm8k", as_json=True) == 0
    assert json.loads(capsys.readouterr().out)["endpoint_types"] == ["completions"]


def test_print_task_rejects_an_unknown_name() -> None:
    with pytest.raises(NotFoundError, match="nearest"):
        print_task("gsm9k", as_json=False)


def test_print_tasks_imports_no_heavy_library() -> None:
    program = (
        "import sys; from nel_action.cli.tasks import print_tasks;"
        "print_tasks((), harness=None, from_container=None, as_json=False);"
        "print([name for name in ('pydantic', 'yaml', 'docker', 'numpy', 'rich', 'hydra') if name in sys.modules])"
    )
    output = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert output.splitlines()[-1] == "[]"
