"""Publication of a gate: locations of policies, stricter conclusions, logs of failed jobs, history."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from tests.doubles.github.server import GitHubDouble
from tests.github.conftest import MakeContext
from tests.support.gate_reports import make_report

from nel_action.errors import ExitCode
from nel_action.gating.verdict import Verdict
from nel_action.github import finalize as finalize_module
from nel_action.github.check import Conclusion
from nel_action.github.finalize import policy_locations
from nel_action.model.job import JobState
from nel_action.spec.compose import load_spec

SPEC = """\
execution: {type: local}
target: {api_endpoint: {model_id: m, url: 'http://127.0.0.1:9/v1/chat/completions'}}
evaluation:
  tasks:
    - name: ifeval
    - name: lm-evaluation-harness.gsm8k
    - name: mmlu
gate:
  tasks:
    ifeval: {min: 0.5}
    gsm8k: {min: 0.5}
"""


def test_policy_location_is_the_policy_or_the_task(make_context: MakeContext) -> None:
    context = make_context()
    (context.root / "evals").mkdir()
    path = context.root / "evals/gate.yaml"
    path.write_text(SPEC)
    locations = policy_locations(context, load_spec(path))
    lines = SPEC.splitlines()
    shown = {task: (file, lines[line - 1].strip()) for task, (file, line) in locations.items()}
    assert shown == {
        "ifeval": ("evals/gate.yaml", "ifeval: {min: 0.5}"),
        "lm-evaluation-harness.gsm8k": ("evals/gate.yaml", "gsm8k: {min: 0.5}"),
        "mmlu": ("evals/gate.yaml", "- name: mmlu"),
    }


@pytest.mark.parametrize(
    ("code", "verdict", "fail_on", "expected"),
    [
        (ExitCode.PASS, Verdict.PASS, "fail, inconclusive", None),
        (ExitCode.INCONCLUSIVE, Verdict.INCONCLUSIVE, "fail", None),
        (ExitCode.INCONCLUSIVE, Verdict.INCONCLUSIVE, "inconclusive", Conclusion.FAILURE),
        (ExitCode.FAIL, Verdict.FAIL, "never", None),
        (ExitCode.UNMEASURABLE, Verdict.UNMEASURABLE, "never", None),
    ],
)
def test_stricter_conclusion_follows_fail_on(
    make_context: MakeContext, code: ExitCode, verdict: Verdict, fail_on: str, expected: Conclusion | None
) -> None:
    assert finalize_module._stricter_conclusion(make_context(fail_on=fail_on), code, make_report(verdict)) is expected


def view(state: str) -> Any:  # noqa: ANN401 - the attributes that are read
    return SimpleNamespace(job=SimpleNamespace(name="arith"), state=JobState(state))


@pytest.mark.parametrize(("state", "shown"), [("failed", True), ("succeeded", False)])
def test_end_of_failed_jobs_log_is_printed_redacted_and_untrusted(
    make_context: MakeContext, log: io.StringIO, tmp_path: Path, state: str, *, shown: bool
) -> None:
    context = make_context(environ={"MODEL_KEY": "s3cret-value"})
    (tmp_path / "arith/logs").mkdir(parents=True)
    lines = [*(f"line {n}" for n in range(500)), "::set-output name=x::y", "key=s3cret-value"]
    (tmp_path / "arith/logs/stdout.log").write_text("\n".join(lines))
    session = SimpleNamespace(invocation=SimpleNamespace(job_dir=lambda _job: tmp_path / "arith"))
    finalize_module._print_failed_logs(context, cast("Any", session), [view(state)])
    printed = log.getvalue()
    assert ("line 499" in printed) is shown
    assert "line 100\n" not in printed
    assert "s3cret-value" not in printed
    if shown:
        untrusted = printed.partition("::stop-commands::")[2]
        assert "::set-output" in untrusted.rpartition("::")[0]


def test_pull_request_is_not_added_to_history(make_context: MakeContext, hub: GitHubDouble) -> None:
    context = make_context(history_branch="data")
    assert finalize_module._add_to_history(context, cast("Any", None), context.event, cast("Any", None)) == []
    assert hub.seen == []
