"""The main step of a command in a comment: everything is verified again, and arguments decide nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.doubles.github.server import Fault, GitHubDouble
from tests.github.conftest import MakeContext
from tests.github.test_commands import AFTER, BEFORE, comment_payload
from tests.github.test_escape import Repository, edit

from nel_action.driver.surroundings import Rules
from nel_action.errors import ExitCode, NelActionError, UnreachableError, UsageError
from nel_action.github.commands import Command
from nel_action.github.comment_command import accept_command, narrow, restore_command
from nel_action.github.context import ActionContext
from nel_action.github.evaluate import evaluate
from nel_action.github.event import EventKind, read_event
from nel_action.github.inputs import Mode
from nel_action.github.policy_source import GateSource, load_spec_from_inputs, resolve_rules
from nel_action.spec.compose import LoadedSpec, load_spec

pytestmark = pytest.mark.slow

Change = Callable[["Commented"], None]


class Commented:
    """A pull request that lowers its limit, with a comment of a maintainer; its commit is checked out."""

    def __init__(self, repository: Repository, hub: GitHubDouble) -> None:
        self.repository, self.hub = repository, hub
        edit(repository.work)
        self.head = repository.commit()
        hub.store.add_pull(2, head=self.head, base=repository.base)
        hub.store.add_push(self.head, BEFORE)
        hub.store.roles["maria"] = "write"

    def context(self, body: str = "/evaluate", **inputs: Any) -> ActionContext:  # noqa: ANN401 - as Repository.context
        payload = comment_payload(body)
        event = {
            "kind": EventKind.ISSUE_COMMENT,
            "payload": {name: payload[name] for name in ("action", "issue", "comment")},
            "fork": True,
            "base_ref": None,
            "base_sha": None,
            "head_sha": None,
        }
        return self.repository.context(event=event, **inputs)

    def answers(self) -> list[str]:
        return [comment["body"] for comment in self.hub.store.comments_of(2)]


@pytest.fixture
def commented(make_context: MakeContext, hub: GitHubDouble, monkeypatch: pytest.MonkeyPatch) -> Commented:
    work = make_context().root
    monkeypatch.chdir(work)
    return Commented(Repository(work, make_context), hub)


def test_accepted_command_has_the_commit_and_the_base_of_the_pull_request(commented: Commented) -> None:
    context = accept_command(commented.context())
    event = context.event
    assert (event.head_sha, event.base_sha, event.fork) == (commented.head, commented.repository.base, False)
    assert context.command is None
    assert context.can_write
    assert not event.on_default_branch
    (rules,) = resolve_rules(context, load_spec_from_inputs(context)).all
    assert rules.policy is not None
    assert rules.policy.tasks["ifeval"].min == 0.7


def test_accepted_command_is_the_gate_of_the_pull_request(commented: Commented) -> None:
    gate = commented.repository.context(event={"head_sha": commented.head})
    assert accept_command(commented.context()).identity == gate.identity


def moved(commented: Commented) -> None:
    commented.hub.store.pulls[2]["head"]["sha"] = "c" * 40
    commented.hub.store.add_push("c" * 40, AFTER)


def moved_before_the_comment_but_not_checked_out(commented: Commented) -> None:
    commented.hub.store.pulls[2]["head"]["sha"] = "c" * 40
    commented.hub.store.pushes.clear()
    commented.hub.store.add_push("c" * 40, BEFORE)


def forked(commented: Commented) -> None:
    commented.hub.store.add_pull(
        2, head=commented.head, base=commented.repository.base, head_repository="mallory/Hello-World"
    )


def closed(commented: Commented) -> None:
    commented.hub.store.pulls[2]["state"] = "closed"


def unreadable(commented: Commented) -> None:
    commented.hub.faults = [Fault("GET .*/permission", 404, times=9)]


@pytest.mark.parametrize(
    "change",
    [moved, moved_before_the_comment_but_not_checked_out, forked, closed, unreadable],
    ids=lambda change: str(change.__name__),
)
@pytest.mark.parametrize("body", ["/evaluate", "/evaluate ifeval"])
def test_refused_command_is_answered_once_and_writes_no_check(commented: Commented, change: Change, body: str) -> None:
    change(commented)
    for _ in range(2):
        outcome = evaluate(commented.context(body))
        expected = ExitCode.UNMEASURABLE if change is unreadable else ExitCode.USAGE
        assert (outcome.code, outcome.verdict) == (expected, "none")
    (answer,) = commented.answers()
    assert "/evaluate is refused" in answer
    assert commented.hub.store.checks == {}


@pytest.mark.parametrize("role", ["triage", "read", "none"])
def test_command_of_somebody_without_write_access_is_not_answered(commented: Commented, role: str) -> None:
    commented.hub.store.roles["maria"] = role
    with pytest.raises(UsageError, match="no write access"):
        accept_command(commented.context())
    assert commented.answers() == []


@pytest.mark.parametrize("body", ["thanks!", "> /evaluate", "/evaluated"])
def test_other_comment_is_refused_without_a_request(commented: Commented, body: str) -> None:
    with pytest.raises(UsageError, match="no command"):
        accept_command(commented.context(body))
    assert commented.hub.seen == []


def test_command_without_a_token_is_refused(commented: Commented) -> None:
    with pytest.raises(UsageError, match="token"):
        accept_command(replace(commented.context(), api=None))


def test_unreachable_server_is_not_a_usage_error(commented: Commented) -> None:
    unreadable(commented)
    with pytest.raises(UnreachableError):
        accept_command(commented.context())


def test_command_with_arguments_has_no_channel_but_its_answer(commented: Commented) -> None:
    inputs = {"mode": "submit", "comment": "off", "history_branch": "data", "exporters": "wandb", "baseline": "main"}
    context = accept_command(commented.context("/evaluate ifeval limit=5", **inputs))
    assert context.inputs.mode is Mode.RUN
    assert (context.inputs.gate, context.inputs.baseline, context.inputs.history_branch) == (False, None, None)
    assert context.inputs.exporters == ()
    assert context.artifact_name == "nel-action-command-77"
    publisher = context.publisher()
    publisher.open(external_id="x", summary="x")
    assert publisher.check_id is None
    assert commented.hub.store.checks == {}
    assert publisher.title == "/evaluate ifeval limit=5"


def test_final_step_restores_what_the_main_step_accepted(commented: Commented) -> None:
    for body in ("/evaluate", "/evaluate ifeval limit=5"):
        accepted = accept_command(commented.context(body))
        requests = len(commented.hub.seen)
        restored = restore_command(commented.context(body))
        assert len(commented.hub.seen) == requests
        assert (restored.event, restored.command) == (accepted.event, accepted.command)
        assert (restored.inputs, restored.artifact_name) == (accepted.inputs, accepted.artifact_name)


def test_final_step_restores_nothing_of_a_refused_command(commented: Commented) -> None:
    moved(commented)
    evaluate(commented.context())
    restored = restore_command(commented.context())
    assert restored.event.fork
    assert not restored.can_write


def test_new_gate_is_not_allowed_by_the_default_branch_that_started_the_run(commented: Commented) -> None:
    context = accept_command(commented.context(environ={"GITHUB_SHA": commented.repository.base}))
    assert context.commits == (commented.head,)


def test_payload_of_a_comment_keeps_no_other_key(tmp_path: Path) -> None:
    import json

    payload = comment_payload() | {"sha": "c" * 40, "client_payload": {"sha": "c" * 40}}
    (tmp_path / "event.json").write_text(json.dumps(payload))
    event = read_event(
        {
            "GITHUB_REPOSITORY": "o/r",
            "GITHUB_EVENT_NAME": "issue_comment",
            "GITHUB_EVENT_PATH": str(tmp_path / "event.json"),
        }
    )
    assert set(event.payload) == {"action", "issue", "comment"}
    assert event.head_sha is None


SPEC = """\
target: {api_endpoint: {model_id: m, url: 'http://127.0.0.1:9/v1/chat/completions'}}
evaluation: {tasks: [{name: ifeval}, {name: simple_evals.mmlu, params: {seed: 1}}], params: {limit_samples: 7}}
gate: {tasks: {ifeval: {min: 0.7}}}
"""
BASE_TASKS = frozenset({"ifeval", "simple_evals.mmlu"})


@pytest.fixture
def loaded(tmp_path: Path) -> LoadedSpec:
    (tmp_path / "gate.yaml").write_text(SPEC)
    return load_spec(tmp_path / "gate.yaml")


def rules_of(loaded: LoadedSpec) -> Rules:
    return Rules.of_spec(loaded.spec, loaded.base_dir)


def test_command_selects_tasks_and_items_and_decides_nothing(loaded: LoadedSpec) -> None:
    narrowed, rules = narrow(loaded, Command(tasks=("mmlu",), limit=100), rules_of(loaded), BASE_TASKS)
    (task,) = narrowed.spec.evaluation.tasks
    assert (task.name, task.params.limit_samples, task.params.seed) == ("simple_evals.mmlu", 100, 1)
    assert (rules.policy, rules.expected, rules.blocked) == (None, ("simple_evals.mmlu",), ())
    assert narrowed.spec.gate is None
    assert "no check, baseline or history" in rules.notes[0]


def test_command_without_tasks_runs_all(loaded: LoadedSpec) -> None:
    narrowed, _ = narrow(loaded, Command(limit=3), rules_of(loaded), BASE_TASKS)
    assert [task.params.limit_samples for task in narrowed.spec.evaluation.tasks] == [3, 3]


def test_command_sets_the_model_only(loaded: LoadedSpec) -> None:
    narrowed, _ = narrow(loaded, Command(model="org/other"), rules_of(loaded), BASE_TASKS)
    changed = narrowed.spec.model_copy(update={"target": loaded.spec.target, "gate": loaded.spec.gate})
    assert changed == loaded.spec
    endpoint = narrowed.spec.target.api_endpoint
    assert endpoint == loaded.spec.target.api_endpoint.model_copy(update={"model_id": "org/other"})


@pytest.mark.parametrize("name", ["gsm8k", "mml", "simple_evals", "0", "ifeval.0", "evaluation.tasks.0"])
def test_task_that_the_base_does_not_have_is_refused(loaded: LoadedSpec, name: str) -> None:
    with pytest.raises(UsageError, match="no task of the base"):
        narrow(loaded, Command(tasks=(name,)), rules_of(loaded), BASE_TASKS)


def test_ambiguous_task_is_refused(loaded: LoadedSpec) -> None:
    with pytest.raises(UsageError, match="ambiguous"):
        narrow(loaded, Command(tasks=("mmlu",)), rules_of(loaded), frozenset({"a.mmlu", "b.mmlu"}))


def test_model_of_a_served_or_compared_target_cannot_be_set(tmp_path: Path) -> None:
    specs = {
        "targets": "targets: {a: {api_endpoint: {model_id: a, url: 'http://127.0.0.1:9/v1/chat/completions'}}}\n",
        "served": "deployment: {type: vllm, checkpoint_path: /models/a, served_model_name: a}\n",
    }
    for name, text in specs.items():
        (tmp_path / f"{name}.yaml").write_text(text + "evaluation: {tasks: [{name: ifeval}]}\n")
        loaded = load_spec(tmp_path / f"{name}.yaml")
        with pytest.raises(UsageError, match="cannot be set"):
            narrow(loaded, Command(model="b"), rules_of(loaded), BASE_TASKS)


def test_bases_without_rules_have_no_tasks_to_evaluate(loaded: LoadedSpec) -> None:
    rules = replace(rules_of(loaded), unmeasurable="the base has no rules")
    with pytest.raises(NelActionError, match="the base has no rules"):
        narrow(loaded, Command(tasks=("ifeval",)), rules, BASE_TASKS)


def test_base_tasks_are_those_of_the_base(commented: Commented) -> None:
    text = (commented.repository.work / "evals/gate.yaml").read_text()
    (commented.repository.work / "evals/gate.yaml").write_text(
        text.replace("[{name: ifeval}]", "[{name: ifeval}, {name: gsm8k}]")
    )
    commented.head = commented.repository.commit()
    commented.hub.store.pulls[2]["head"]["sha"] = commented.head
    commented.hub.store.pushes.clear()
    commented.hub.store.add_push(commented.head, BEFORE)
    context = accept_command(commented.context("/evaluate gsm8k"))
    source = GateSource(context, load_spec_from_inputs(context))
    source.resolve()
    assert source.base_tasks() == {"ifeval"}
