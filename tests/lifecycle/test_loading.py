from __future__ import annotations

from pathlib import Path

import pytest

from nel_action.errors import SpecError
from nel_action.lifecycle.loading import load

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
