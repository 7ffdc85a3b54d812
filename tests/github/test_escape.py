"""Attempts of a pull request to be judged by rules of its own, or of another base than its own."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.doubles.github.server import Fault, GitHubDouble
from tests.github.conftest import HEAD, MakeContext

from nel_action.driver.surroundings import Rules
from nel_action.errors import NelActionError
from nel_action.github.bases import Base, find_bases
from nel_action.github.checkout import Inside, Outside, find_top_level, place
from nel_action.github.context import ActionContext
from nel_action.github.event import EventKind
from nel_action.github.policy_source import GateSource, load_spec_from_inputs, resolve_rules

pytestmark = pytest.mark.slow

SPEC = """\
execution: {type: local}
target: {api_endpoint: {model_id: m, url: 'http://127.0.0.1:9/v1/chat/completions'}}
evaluation: {tasks: [{name: ifeval}]}
gate: {tasks: {ifeval: {min: %s}}}
"""
STRICT, LAX = SPEC % 0.7, SPEC % 0.1
FLOOR = 0.7


def git(work: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    options = ["-c", "protocol.file.allow=always"]
    argv = ["git", *identity, *options, "-C", str(work), *arguments]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


class Repository:
    """A repository whose base requires 0.7; `head` is the commit of the pull request."""

    def __init__(self, work: Path, make_context: MakeContext) -> None:
        self.work, self._make_context = work, make_context
        git(work, "init", "-q", "-b", "main")
        write(work / "evals/gate.yaml", STRICT)
        write(work / "evals/policies/strict.yaml", "tasks: {ifeval: {min: 0.7}}\n")
        self.base = self.commit()

    def commit(self) -> str:
        git(self.work, "add", "-A")
        git(self.work, "commit", "-q", "--allow-empty", "-m", "change")
        return git(self.work, "rev-parse", "HEAD")

    def context(self, **inputs: Any) -> ActionContext:  # noqa: ANN401 - inputs, `event` and `environ`
        event = {"base_sha": self.base, "head_sha": git(self.work, "rev-parse", "HEAD")} | inputs.pop("event", {})
        given = inputs if {"spec", "config_name"} & inputs.keys() else {"spec": "evals/gate.yaml"} | inputs
        return self._make_context(event=event, **given)

    def rules(self, **inputs: Any) -> Rules:  # noqa: ANN401 - as `context`
        context = self.context(**inputs)
        return resolve_rules(context, load_spec_from_inputs(context))


@pytest.fixture
def repository(make_context: MakeContext, monkeypatch: pytest.MonkeyPatch) -> Repository:
    work = make_context().root
    monkeypatch.chdir(work)
    return Repository(work, make_context)


def assert_not_escaped(rules: Rules) -> None:
    """Verify that the base's limit applies, or that the gate is unmeasurable."""
    for each in rules.all:
        if each.unmeasurable is None:
            assert each.policy is not None
            assert each.policy.tasks["ifeval"].min == FLOOR


def assert_base_rules(rules: Rules) -> None:
    assert rules.unmeasurable is None
    assert_not_escaped(rules)


def link_spec(work: Path) -> None:
    write(work / "evals/new.yaml", LAX)
    (work / "evals/gate.yaml").unlink()
    (work / "evals/gate.yaml").symlink_to("new.yaml")


def link_folder(work: Path) -> None:
    (work / "evals").rename(work / "other")
    write(work / "other/gate.yaml", LAX)
    (work / "evals").symlink_to("other")


def link_to_temporary_file(work: Path) -> None:
    write(work.parent / "outside.yaml", LAX)
    (work / "evals/gate.yaml").unlink()
    (work / "evals/gate.yaml").symlink_to(work.parent / "outside.yaml")


def edit(work: Path) -> None:
    write(work / "evals/gate.yaml", LAX)


HEADS: list[Callable[[Path], None]] = [edit, link_spec, link_folder, link_to_temporary_file]
FORMS: list[dict[str, str]] = [
    {"spec": "evals/gate.yaml"},
    {"spec": "./evals//gate.yaml"},
    {"spec": "evals/../evals/gate.yaml"},
    {"config_dir": "evals", "config_name": "gate"},
    {"config_dir": "./evals/", "config_name": "gate.yaml"},
    {"config_dir": ".", "config_name": "evals/gate"},
    {"config_name": "evals/gate"},
]


@pytest.mark.parametrize("change", HEADS, ids=lambda change: change.__name__)
@pytest.mark.parametrize("form", FORMS, ids=str)
def test_no_form_of_the_inputs_escapes(
    repository: Repository, form: dict[str, str], change: Callable[[Path], None]
) -> None:
    change(repository.work)
    repository.commit()
    rules = repository.rules(**form)
    assert_not_escaped(rules)
    assert change is not edit or rules.unmeasurable is None


def test_absolute_path_of_the_spec_has_rules_of_base(repository: Repository) -> None:
    edit(repository.work)
    repository.commit()
    assert_base_rules(repository.rules(spec=str(repository.work / "evals/gate.yaml")))


@pytest.mark.parametrize("suffix", ["", ".yml", ".json", ".conf", ".YAML"])
def test_spec_of_any_suffix_has_rules_of_base(repository: Repository, suffix: str) -> None:
    write(repository.work / f"evals/other{suffix}", STRICT)
    repository.base = repository.commit()
    write(repository.work / f"evals/other{suffix}", LAX)
    repository.commit()
    assert_base_rules(repository.rules(spec=f"evals/other{suffix}"))


@pytest.mark.parametrize("folder", ["évals", 'a"b', "a b", "a\tb", "日本/ü"])
def test_folder_of_any_name_has_rules_of_base(repository: Repository, folder: str) -> None:
    write(repository.work / folder / "gate.yaml", STRICT)
    repository.base = repository.commit()
    write(repository.work / folder / "gate.yaml", LAX)
    repository.commit()
    assert_base_rules(repository.rules(spec=f"{folder}/gate.yaml"))
    assert_base_rules(repository.rules(config_dir=folder, config_name="gate"))


def test_working_directory_in_the_repository_has_rules_of_base(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    edit(repository.work)
    repository.commit()
    monkeypatch.chdir(repository.work / "evals")
    assert_base_rules(repository.rules(config_name="gate"))
    assert_base_rules(repository.rules(spec="gate.yaml"))
    assert_base_rules(repository.rules(spec="../evals/gate.yaml"))


def test_working_directory_that_the_change_makes_a_link_is_unmeasurable(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(repository.work / ".github/nel-action.yml", "new_gates: allow\n")
    repository.base = repository.commit()
    link_folder(repository.work)
    repository.commit()
    monkeypatch.chdir(repository.work / "evals")
    environ = {"GITHUB_WORKSPACE": str(repository.work), "INPUT_WORKING_DIRECTORY": "evals"}
    rules = repository.rules(spec="gate.yaml", environ=environ)
    assert "symbolic link" in (rules.unmeasurable or "")


def test_new_spec_is_unmeasurable_and_says_how_to_continue(repository: Repository) -> None:
    write(repository.work / "evals/new.yaml", LAX)
    repository.commit()
    rules = repository.rules(spec="evals/new.yaml")
    assert rules.policy is None
    assert "has no rules for the spec evals/new.yaml yet" in (rules.unmeasurable or "")
    assert "new_gates: allow" in (rules.unmeasurable or "")


@pytest.mark.parametrize(
    ("text", "allowed"),
    [
        ("new_gates: allow\n", True),
        ("new_gates: deny\n", False),
        ("new_gates: true\n", False),
        ("new_gates: [allow\n", False),
        ("- allow\n", False),
        ("", False),
    ],
)
def test_base_can_allow_new_gates(repository: Repository, text: str, *, allowed: bool) -> None:
    write(repository.work / ".github/nel-action.yml", text)
    repository.base = repository.commit()
    write(repository.work / "evals/new.yaml", LAX)
    repository.commit()
    rules = repository.rules(spec="evals/new.yaml")
    assert (rules.unmeasurable is None) is allowed
    assert not allowed or any("allows new gates" in note for note in rules.notes)


@pytest.mark.parametrize("change", [link_spec, link_folder, link_to_temporary_file], ids=lambda change: change.__name__)
def test_allowed_new_gates_do_not_include_links(repository: Repository, change: Callable[[Path], None]) -> None:
    write(repository.work / ".github/nel-action.yml", "new_gates: allow\n")
    repository.base = repository.commit()
    change(repository.work)
    repository.commit()
    assert repository.rules().unmeasurable is not None


def test_change_cannot_allow_new_gates_itself(repository: Repository) -> None:
    write(repository.work / ".github/nel-action.yml", "new_gates: allow\n")
    write(repository.work / "evals/new.yaml", LAX)
    repository.commit()
    assert repository.rules(spec="evals/new.yaml").unmeasurable is not None


def test_new_gate_needs_a_checkout_of_the_event(repository: Repository) -> None:
    write(repository.work / ".github/nel-action.yml", "new_gates: allow\n")
    repository.base = repository.commit()
    write(repository.work / "evals/new.yaml", LAX)
    repository.commit()
    rules = repository.rules(spec="evals/new.yaml", event={"head_sha": HEAD})
    assert "no commit of this event" in (rules.unmeasurable or "")


@pytest.mark.parametrize("name", ["evals/Gate.yaml", "Evals/gate.yaml"])
def test_name_that_differs_in_case_is_unmeasurable(repository: Repository, name: str) -> None:
    write(repository.work / ".github/nel-action.yml", "new_gates: allow\n")
    repository.base = repository.commit()
    write(repository.work / name, LAX)
    repository.commit()
    assert "case" in (repository.rules(spec=name).unmeasurable or "")


def test_spec_outside_of_the_repository_is_unmeasurable(repository: Repository, tmp_path: Path) -> None:
    write(tmp_path / "generated.yaml", LAX)
    assert "outside" in (repository.rules(spec=str(tmp_path / "generated.yaml")).unmeasurable or "")
    assert "outside" in (repository.rules(spec="../generated.yaml").unmeasurable or "")


def test_link_in_the_base_is_unmeasurable(repository: Repository) -> None:
    link_spec(repository.work)
    repository.base = repository.commit()
    (repository.work / "evals/gate.yaml").unlink()
    edit(repository.work)
    repository.commit()
    assert "symbolic link" in (repository.rules().unmeasurable or "")


def test_folder_that_the_change_makes_a_submodule_is_unmeasurable(
    repository: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    foreign = tmp_path / "foreign"
    write(foreign / "gate.yaml", LAX)
    git(foreign, "init", "-q")
    git(foreign, "add", "-A")
    git(foreign, "commit", "-q", "-m", "lax")
    write(repository.work / ".github/nel-action.yml", "new_gates: allow\n")
    repository.base = repository.commit()
    shutil.rmtree(repository.work / "evals")
    git(repository.work, "rm", "-r", "-q", "--cached", "evals")
    git(repository.work, "clone", "-q", str(foreign), "evals")
    head = repository.commit()
    monkeypatch.chdir(repository.work / "evals")
    top = find_top_level(repository.work, repository.work / "evals", [head])
    assert top == repository.work
    assert_base_rules(repository.rules(spec="gate.yaml"))


def test_invalid_spec_in_base_is_unmeasurable(repository: Repository) -> None:
    write(repository.work / "evals/gate.yaml", "gate: {tasks: {ifeval: {mni: 1}}}\n")
    repository.base = repository.commit()
    edit(repository.work)
    repository.commit()
    assert "is invalid" in (repository.rules().unmeasurable or "")


def test_override_that_only_the_head_can_compose_is_unmeasurable(repository: Repository) -> None:
    write(repository.work / "evals/gate.yaml", LAX.replace("{name: ifeval}", "{name: ifeval}, {name: gsm8k}"))
    repository.commit()
    rules = repository.rules(overrides="evaluation.tasks.gsm8k.params.limit_samples=3")
    assert "is invalid" in (rules.unmeasurable or "")


def test_group_that_only_the_head_has_is_unmeasurable(repository: Repository) -> None:
    write(repository.work / "evals/gate.yaml", "defaults: [policy: strict, _self_]\n" + STRICT.partition("gate:")[0])
    write(repository.work / "evals/policy/strict.yaml", "# @package _global_\ngate: {tasks: {ifeval: {min: 0.7}}}\n")
    repository.base = repository.commit()
    write(repository.work / "evals/policy/lax.yaml", "# @package _global_\ngate: {tasks: {ifeval: {min: 0.1}}}\n")
    repository.commit()
    assert repository.rules(overrides="policy=lax").unmeasurable is not None


@pytest.mark.parametrize("reference", ["../common/policy/strict", "policy/strict"])
def test_defaults_are_composed_from_the_base_wherever_they_are(repository: Repository, reference: str) -> None:
    group, _, option = reference.rpartition("/")
    text = f"defaults: [{{{group}@_global_: {option}}}, _self_]\n" + STRICT.partition("gate:")[0]
    write(repository.work / "evals/gate.yaml", text)
    file = repository.work / "evals" / group / f"{option}.yaml"
    write(file.resolve(), "gate: {tasks: {ifeval: {min: 0.7}}}\n")
    repository.base = repository.commit()
    write(file.resolve(), "gate: {tasks: {ifeval: {min: 0.1}}}\n")
    repository.commit()
    assert_not_escaped(repository.rules())


def test_policy_file_is_read_from_the_base_in_every_form(repository: Repository) -> None:
    write(repository.work / "evals/policies/strict.yaml", "tasks: {ifeval: {min: 0.1}}\n")
    repository.commit()
    for gate in ("evals/policies/strict.yaml", "evals/../evals/policies/strict.yaml"):
        assert_base_rules(repository.rules(gate=gate))
    assert_base_rules(repository.rules(gate=str(repository.work / "evals/policies/strict.yaml")))


@pytest.mark.parametrize("kind", ["new", "link", "outside", "invalid"])
def test_policy_file_that_the_base_does_not_have_is_unmeasurable(repository: Repository, kind: str) -> None:
    name = f"evals/policies/{kind}.yaml"
    if kind == "invalid":
        write(repository.work / name, "tasks: [")
        repository.base = repository.commit()
    if kind == "outside":
        name = str(repository.work.parent / "policy.yaml")
    if kind == "link":
        (repository.work / name).symlink_to("lax.yaml")
        name_of_target = "evals/policies/lax.yaml"
        write(repository.work / name_of_target, "tasks: {ifeval: {min: 0.1}}\n")
    else:
        write(repository.work / name, "tasks: {ifeval: {min: 0.1}}\n")
    repository.commit()
    assert repository.rules(gate=name).unmeasurable is not None


@pytest.mark.parametrize("kind", [EventKind.PULL_REQUEST, EventKind.PULL_REQUEST_TARGET, EventKind.MERGE_GROUP])
@pytest.mark.parametrize("missing", ["base_ref", "base_sha"])
def test_event_without_base_has_no_rules(repository: Repository, kind: EventKind, missing: str) -> None:
    edit(repository.work)
    with pytest.raises(NelActionError, match="names no base"):
        repository.rules(event={"kind": kind, missing: None})


OTHER_EVENTS = [kind for kind in EventKind if not kind.startswith(("pull_request", "merge_group"))]
NO_BASE = {"base_ref": None, "base_sha": None, "pull_request": None, "default_branch": "main"}


@pytest.mark.parametrize("kind", OTHER_EVENTS)
def test_any_event_on_the_head_of_a_pull_request_has_rules_of_its_base(
    repository: Repository, hub: GitHubDouble, kind: EventKind
) -> None:
    edit(repository.work)
    head = repository.commit()
    hub.store.add_pull(2, head=head, base=repository.base)
    hub.store.refs["heads/main"] = repository.base
    assert_base_rules(repository.rules(event=NO_BASE | {"kind": kind, "ref": "refs/heads/change"}))
    assert_base_rules(repository.rules(event=NO_BASE | {"kind": kind, "ref": "refs/heads/main"}))


@pytest.mark.parametrize("kind", [EventKind.PUSH, EventKind.WORKFLOW_DISPATCH, EventKind.OTHER, EventKind.CHECK_RUN])
@pytest.mark.parametrize("ref", ["refs/heads/change", "refs/tags/main", None])
def test_commit_that_is_not_on_the_default_branch_has_its_rules(
    repository: Repository, hub: GitHubDouble, kind: EventKind, ref: str | None
) -> None:
    edit(repository.work)
    repository.commit()
    hub.store.refs["heads/main"] = repository.base
    assert_base_rules(repository.rules(event=NO_BASE | {"kind": kind, "ref": ref}))
    assert_base_rules(repository.rules(event=NO_BASE | {"kind": kind, "ref": ref, "default_branch": None}))


def test_two_pull_requests_with_one_head_have_the_rules_of_both_bases(
    repository: Repository, hub: GitHubDouble
) -> None:
    edit(repository.work)
    weak = repository.commit()
    head = repository.commit()
    hub.store.add_pull(2, head=head, base=repository.base)
    hub.store.add_pull(3, head=head, base=weak)["base"]["ref"] = "weak"
    for number, ref, sha in ((2, "main", repository.base), (3, "weak", weak)):
        rules = repository.rules(event={"pull_request": number, "base_ref": ref, "base_sha": sha})
        limits = {each.policy.tasks["ifeval"].min for each in rules.all if each.policy}
        assert limits == {0.1, FLOOR}


def test_base_that_a_pull_request_gets_during_the_evaluation_counts(repository: Repository, hub: GitHubDouble) -> None:
    write(repository.work / ".github/nel-action.yml", "bases: [we*]\n")
    repository.base = hub.store.refs["heads/main"] = repository.commit()
    edit(repository.work)
    weak = repository.commit()
    head = repository.commit()
    hub.store.refs["heads/weak"] = weak
    hub.store.add_pull(2, head=head, base=weak)["base"]["ref"] = "weak"
    context = repository.context(event={"base_ref": "weak", "base_sha": weak})
    source = GateSource(context, load_spec_from_inputs(context))
    rules = source.resolve()
    assert [each.policy.tasks["ifeval"].min for each in rules.all if each.policy] == [0.1]
    hub.store.pulls[2]["base"] |= {"ref": "main", "sha": repository.base}
    updated = source.update(rules)
    assert [each.policy.tasks["ifeval"].min for each in updated.all if each.policy] == [0.1, FLOOR]
    assert len(source.update(updated).all) == 2


@pytest.mark.parametrize(
    ("options", "suffices"),
    [
        ("", False),
        ("bases: [other]\n", False),
        ("bases: weak\n", False),
        ("bases: [1, weak]\n", False),
        ("bases: [weak\n", False),
        ("bases: [Weak]\n", False),
        ("bases: [weak]\n", True),
        ("bases: ['w*']\n", True),
    ],
)
def test_branch_with_weaker_rules_suffices_only_if_the_default_branch_states_it(
    repository: Repository, hub: GitHubDouble, options: str, *, suffices: bool
) -> None:
    write(repository.work / ".github/nel-action.yml", options)
    repository.base = hub.store.refs["heads/main"] = repository.commit()
    edit(repository.work)
    write(repository.work / ".github/nel-action.yml", "bases: ['*']\n")
    weak = repository.commit()
    head = repository.commit()
    hub.store.add_pull(2, head=head, base=weak)["base"]["ref"] = "weak"
    for event in ({"base_ref": "weak", "base_sha": weak}, NO_BASE | {"kind": EventKind.WORKFLOW_DISPATCH}):
        rules = repository.rules(event={"default_branch": "main"} | event)
        limits = {each.policy.tasks["ifeval"].min for each in rules.all if each.policy}
        assert limits == ({0.1} if suffices else {0.1, FLOOR})


def test_rules_are_those_of_the_newest_commit_of_the_base(repository: Repository, hub: GitHubDouble) -> None:
    edit(repository.work)
    weak = repository.commit()
    write(repository.work / "evals/gate.yaml", STRICT)
    hub.store.refs["heads/main"] = repository.commit()
    edit(repository.work)
    head = repository.commit()
    hub.store.add_pull(2, head=head, base=weak)
    for event in ({"base_sha": weak}, NO_BASE | {"kind": EventKind.WORKFLOW_DISPATCH}):
        (rules,) = repository.rules(event=event).all
        assert_base_rules(rules)


def test_base_that_was_deleted_is_unmeasurable(repository: Repository, hub: GitHubDouble) -> None:
    hub.store.refs["heads/main"] = repository.base
    rules = repository.rules(event={"base_ref": "gone"})
    assert "the branch gone cannot be read" in (rules.all[-1].unmeasurable or "")


def test_default_branch_that_cannot_be_read_makes_the_gate_unmeasurable(
    repository: Repository, hub: GitHubDouble
) -> None:
    edit(repository.work)
    weak = repository.commit()
    hub.store.add_pull(2, head=repository.commit(), base=weak)["base"]["ref"] = "weak"
    hub.store.refs["heads/main"] = "e" * 40
    assert repository.rules(event={"base_ref": "weak", "base_sha": weak}).all[-1].unmeasurable is not None


@pytest.mark.parametrize("queue", ["weak", "main"])
def test_branch_with_the_name_of_a_queue_does_not_replace_the_rules(
    repository: Repository, hub: GitHubDouble, queue: str
) -> None:
    edit(repository.work)
    weak = repository.commit()
    head = repository.commit()
    hub.store.refs |= {"heads/main": repository.base, f"heads/gh-readonly-queue/{queue}/pr-7-{weak}": head}
    hub.grant(contents="read", checks="write")
    own = {"base_ref": "main", "base_sha": repository.base}
    for event in (NO_BASE | {"kind": EventKind.PUSH, "ref": "refs/heads/change"}, own):
        rules = repository.rules(event=event)
        limits = [each.policy.tasks["ifeval"].min for each in rules.all if each.policy]
        assert FLOOR in limits or any(each.unmeasurable for each in rules.all)


def test_commit_in_a_merge_queue_has_rules_of_the_queue(repository: Repository, hub: GitHubDouble) -> None:
    edit(repository.work)
    head = repository.commit()
    hub.store.refs[f"heads/gh-readonly-queue/main/pr-7-{repository.base}"] = head
    event = NO_BASE | {"kind": EventKind.PUSH, "ref": "refs/heads/main"}
    assert_base_rules(repository.rules(event=event))
    hub.store.refs = {"heads/gh-readonly-queue/unknown": head}
    assert repository.rules(event=event).all[-1].unmeasurable is not None


def test_pull_requests_that_cannot_be_listed_make_the_gate_unmeasurable(
    repository: Repository, hub: GitHubDouble
) -> None:
    head = repository.commit()
    hub.store.add_pull(3, head=head, base=repository.base)
    hub.grant(contents="read", checks="write")
    rules = repository.rules()
    assert "pull-requests: read" in (rules.all[-1].unmeasurable or "")
    hub.store.pulls.clear()
    assert_base_rules(repository.rules())
    assert len(repository.rules().all) == 1, "the refs show that there is no other pull request"


def test_server_error_while_listing_makes_the_gate_unmeasurable(repository: Repository, hub: GitHubDouble) -> None:
    repository.commit()
    hub.faults = [Fault("GET .*/pulls", 502, times=99)]
    assert repository.rules().all[-1].unmeasurable is not None


def test_bases_of_a_run_without_token_are_those_of_the_event(make_context: MakeContext) -> None:
    context = make_context()
    found = find_bases(None, context.event, context.base_files())
    assert found.bases == (Base(ref="main", sha="b" * 40, pull_request=2),)


@pytest.mark.parametrize(
    ("reference", "applies"),
    [
        ("baselines/main.json", True),
        ("../baselines/main.json", True),
        ("./x/../baselines/main.json", True),
        ("../link.json", False),
        ("../linked/main.json", False),
        ("../../outside.json", False),
    ],
)
def test_baseline_file_is_that_of_the_base(repository: Repository, reference: str, *, applies: bool) -> None:
    for folder in ("evals/baselines", "baselines"):
        write(repository.work / folder / "main.json", "of the base")
    (repository.work / "link.json").symlink_to("baselines/main.json")
    (repository.work / "linked").symlink_to("baselines")
    write(repository.work / "evals/gate.yaml", STRICT.replace("gate: {", f"gate: {{baseline: {reference}, "))
    repository.base = repository.commit()
    for folder in ("evals/baselines", "baselines"):
        write(repository.work / folder / "main.json", "of the head")
    repository.commit()
    if not applies:
        with pytest.raises(NelActionError, match=r"link|outside"):
            repository.rules()
        return
    rules = repository.rules()
    assert rules.policy is not None
    assert rules.policy.baseline == reference
    (rules.folder / "x").mkdir(exist_ok=True)
    assert (rules.folder / reference).read_text() == "of the base"


def test_baseline_at_an_absolute_path_in_the_checkout_is_that_of_the_base(repository: Repository) -> None:
    write(repository.work / "baselines/main.json", "of the base")
    repository.base = repository.commit()
    write(repository.work / "baselines/main.json", "of the head")
    repository.commit()
    rules = repository.rules(baseline=str(repository.work / "baselines/main.json"))
    assert rules.policy is not None
    assert (rules.folder / str(rules.policy.baseline)).read_text() == "of the base"


def test_baseline_that_only_the_head_has_is_not_used(repository: Repository) -> None:
    write(repository.work / "evals/main", "of the head")
    repository.commit()
    rules = repository.rules(baseline="main")
    assert not (rules.folder / "main").exists()


def test_samples_of_a_baseline_file_are_copied_with_it(repository: Repository) -> None:
    write(repository.work / "baselines/results.json", "{}")
    write(repository.work / "baselines/samples/a.jsonl.gz", "x")
    write(repository.work / "baselines/other.bin", "x")
    repository.base = repository.commit()
    folder = repository.rules(baseline="../baselines/results.json").folder.parent / "baselines"
    assert sorted(path.name for path in folder.rglob("*") if path.is_file()) == ["a.jsonl.gz", "results.json"]


def test_place_follows_names_not_links(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    work = tmp_path / "work"
    write(work / "a/b.yaml", "x")
    (work / "up").symlink_to(".")
    (tmp_path / "alias").symlink_to("work")
    monkeypatch.chdir(work)
    assert place(Path("a/b.yaml"), work) == place(Path("a/../a/b.yaml"), tmp_path / "alias")
    assert isinstance(place(Path("a/b.yaml"), tmp_path / "alias"), Inside)
    assert isinstance(place(Path("up/a/b.yaml"), work), Outside)
    assert isinstance(place(Path("up/a/b.yaml"), tmp_path / "alias"), Outside)
    assert isinstance(place(Path("up/../a/b.yaml"), work), Outside), "the system follows the link before `..`"
    assert isinstance(place(tmp_path / "x.yaml", work), Outside)


def test_top_level_is_that_of_the_checkout_with_the_commit(tmp_path: Path) -> None:
    outer, inner = tmp_path / "work", tmp_path / "work/repo"
    for folder in (outer, inner):
        write(folder / "file", str(folder))
        git(folder, "init", "-q")
        git(folder, "add", "file")
        git(folder, "commit", "-q", "-m", "x")
    head = git(inner, "rev-parse", "HEAD")
    assert find_top_level(outer, inner / "evals", [head]) == inner
    assert find_top_level(outer, inner / "evals", [git(outer, "rev-parse", "HEAD")]) == outer
    assert find_top_level(outer, inner / "evals", [HEAD]) == outer
    assert find_top_level(tmp_path, inner, [head]) == inner
    assert find_top_level(tmp_path, tmp_path / "none", []) == tmp_path
