from __future__ import annotations

from pathlib import Path

import pytest

from nel_action.errors import ExitCode, NotFoundError, SpecError, UsageError
from nel_action.lifecycle.loading import load, select_tasks

SPEC = """\
target: {api_endpoint: {model_id: m, url: http://x/v1/chat/completions}}
evaluation:
  tasks:
    - {name: ifevl}
    - {name: mine, harness: comand}
    - {name: gsm8k_like, harness: command, command: ['true']}
gate:
  tasks:
    gsm8k_like: {max_dorp: 0.03}
"""


def test_load_reports_all_problems_with_their_source_positions(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(SPEC)
    with pytest.raises(SpecError) as caught:
        load(path)
    text = str(caught.value)
    for message in (
        "s.yaml:9:18: unknown key 'max_dorp' in gate.tasks.gsm8k_like; did you mean 'max_drop'?",
        "s.yaml:4:8: no task 'ifevl'",
        "s.yaml:5:20: no harness 'comand'",
    ):
        assert message in text
    assert len(caught.value.problems) == 3


def test_load_accepts_a_valid_spec(tmp_path: Path) -> None:
    path = tmp_path / "s.yaml"
    path.write_text(SPEC.replace("max_dorp", "max_drop"))
    assert len(load(path).spec.evaluation.tasks) == 3


SIX = ("mmlu", "gsm8k", "mmlu", "mmlu", "simple_evals.mmlu_pro", "gsm8k")
"""In the plan: mmlu, gsm8k, mmlu.2, mmlu.3, simple_evals.mmlu_pro, gsm8k.2."""


def selected(tmp_path: Path, tasks: tuple[str, ...], *names: str) -> list[int]:
    path = tmp_path / "s.yaml"
    listed = "".join(
        f"    - {{name: {name}, harness: command, command: ['true'], params: {{seed: {index}}}}}\n"
        for index, name in enumerate(tasks)
    )
    path.write_text(
        f"target: {{api_endpoint: {{model_id: m, url: http://x/v1/chat/completions}}}}\nevaluation:\n  tasks:\n{listed}"
    )
    seeds = [task.params.seed for task in select_tasks(load(path), names).spec.evaluation.tasks]
    return [seed for seed in seeds if seed is not None]


@pytest.mark.parametrize(
    ("names", "indexes"),
    [
        ((), [0, 1, 2, 3, 4, 5]),
        (("mmlu",), [0, 2, 3]),
        (("mmlu.0",), [0]),
        (("mmlu.2",), [2]),
        (("4",), [4]),
        (("mmlu_pro.4",), [4]),
        (("simple_evals.mmlu_pro.4",), [4]),
        (("gsm8k.2",), [5]),
        (("gsm8k.5", "mmlu.0"), [0, 5]),
        (("mmlu_pro",), [4]),
    ],
)
def test_select_tasks_takes_names_of_the_plan_and_positions_of_the_file(
    tmp_path: Path, names: tuple[str, ...], indexes: list[int]
) -> None:
    assert selected(tmp_path, SIX, *names) == indexes


def test_select_tasks_refuses_a_name_that_selects_two_tasks(tmp_path: Path) -> None:
    tasks = ("mmlu", "mmlu", "mmlu")
    with pytest.raises(UsageError) as caught:
        selected(tmp_path, tasks, "mmlu.2")
    assert "task 1 has this name in the plan, and task 2 ('mmlu.3') has this position in the file" in str(caught.value)
    assert "write -t 1 or -t 2" in str(caught.value)
    assert caught.value.exit_code == ExitCode.USAGE
    assert [selected(tmp_path, tasks, name) for name in ("mmlu.1", "mmlu.3", "1", "2")] == [[1], [2], [1], [2]]


@pytest.mark.parametrize("name", ["mmlu.1", "mmlu.02", "mmlu.6", "mmlu.-1", "6", "mml", "", ".", "mmlu.", ".2", "²"])
def test_select_tasks_refuses_names_of_no_task(tmp_path: Path, name: str) -> None:
    with pytest.raises(NotFoundError, match=r"the spec has no task"):
        selected(tmp_path, SIX, name)
