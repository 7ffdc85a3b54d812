"""Which policy a gate goes by: the base's for a change, the inputs' where they say so."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.github.conftest import MakeContext

from nel_action.driver.judging import Rules
from nel_action.errors import NelActionError, SpecError
from nel_action.github.context import ActionContext
from nel_action.github.rules import dump_rules, load_spec_from_inputs, parse_rules, resolve_rules

SPEC = """\
execution: {type: local}
target: {api_endpoint: {model_id: m, url: 'http://127.0.0.1:9/v1/chat/completions'}}
evaluation: {tasks: [{name: ifeval}]}
gate: {baseline: main, tasks: {ifeval: {min: %s}}}
"""


def git(work: Path, *words: str) -> str:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org", "-c", "commit.gpgsign=false"]
    done = subprocess.run(["git", *who, "-C", str(work), *words], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def commits(make_context: MakeContext) -> tuple[Path, str]:
    """Return a checkout whose base asks for 0.7 and whose head asks for 0.1, and the base's commit."""
    work = make_context().root
    (work / "evals/policies").mkdir(parents=True)
    git(work, "init", "-q", "-b", "main")
    (work / "evals/gate.yaml").write_text(SPEC % 0.7)
    (work / "evals/policies/night.yaml").write_text("gate: {tasks: {ifeval: {min: 0.6}}}\n")
    git(work, "add", ".")
    git(work, "commit", "-qm", "base")
    base = git(work, "rev-parse", "HEAD")
    (work / "evals/gate.yaml").write_text(SPEC % 0.1)
    (work / "evals/policies/night.yaml").write_text("tasks: {ifeval: {min: 0.2}}\n")
    return work, base


def judged(context: ActionContext) -> Rules:
    return resolve_rules(context, load_spec_from_inputs(context))


def floor(found: Rules) -> float | None:
    assert found.policy is not None
    return found.policy.tasks["ifeval"].min


@pytest.fixture
def make(commits: tuple[Path, str], make_context: MakeContext, monkeypatch: pytest.MonkeyPatch) -> MakeContext:
    """Return what makes a pull request's context in that checkout, on that base."""
    work, base = commits
    monkeypatch.chdir(work)

    def made(**inputs: Any) -> ActionContext:  # noqa: ANN401 - inputs, and `event`
        event = {"base_sha": base} | inputs.pop("event", {})
        return make_context(event=event, **{"spec": "evals/gate.yaml"} | inputs)

    return made


def test_a_change_goes_by_its_base_and_what_it_would_change_is_named(make: MakeContext) -> None:
    found = judged(make())
    assert floor(found) == 0.7
    assert any("0.7 → 0.1" in note for note in found.notes)


def test_where_nothing_is_merged_the_own_rules_hold(make: MakeContext) -> None:
    assert floor(judged(make(event={"base_ref": None, "base_sha": None}))) == 0.1


def test_a_policy_file_is_the_bases_too(make: MakeContext) -> None:
    assert floor(judged(make(gate="evals/policies/night.yaml"))) == 0.6


def test_a_policy_file_that_is_new_brings_its_own_rules_and_says_so(make: MakeContext) -> None:
    Path("evals/policies/new.yaml").write_text("tasks: {ifeval: {min: 0.3}}\n")
    found = judged(make(gate="evals/policies/new.yaml"))
    assert floor(found) == 0.3
    assert any("brings its own rules" in note for note in found.notes)


def test_a_policy_file_that_nobody_has_is_a_mistake(make: MakeContext) -> None:
    with pytest.raises(SpecError, match=r"no policy at nope\.yaml"):
        judged(make(gate="evals/policies/nope.yaml"))


@pytest.mark.parametrize(
    ("text", "said"),
    [("tasks: [", "no YAML"), ("tasks: {ifeval: {mni: 1}}", "mni"), ("- 1\n- 2\n", "policy"), ("x: .nan", "x")],
)
def test_a_policy_file_that_is_none_says_what_is_wrong(make: MakeContext, text: str, said: str) -> None:
    Path("evals/policies/new.yaml").write_text(text)
    with pytest.raises(SpecError, match=said):
        judged(make(gate="evals/policies/new.yaml"))


def test_false_judges_nothing(make: MakeContext) -> None:
    assert judged(make(gate="false")).policy is None


def test_the_inputs_baseline_goes_before_the_policys(make: MakeContext) -> None:
    found = judged(make(baseline="release"))
    assert found.policy is not None
    assert found.policy.baseline == "release"
    assert floor(found) == 0.7


def test_a_spec_that_the_base_does_not_have_brings_its_own_rules(make: MakeContext) -> None:
    Path("evals/gate.yaml").rename("evals/new.yaml")
    found = judged(make(spec="evals/new.yaml"))
    assert floor(found) == 0.1
    assert any("no such spec yet" in note for note in found.notes)


def test_a_base_that_is_broken_can_be_mended(commits: tuple[Path, str], make: MakeContext) -> None:
    work, _ = commits
    git(work, "stash", "-q")
    (work / "evals/gate.yaml").write_text("gate: {tasks: {ifeval: {mni: 1}}}\n")
    git(work, "commit", "-qam", "broken")
    broken = git(work, "rev-parse", "HEAD")
    (work / "evals/gate.yaml").write_text(SPEC % 0.4)
    found = judged(make(event={"base_sha": broken}))
    assert floor(found) == 0.4
    assert any("is broken" in note for note in found.notes)


def test_a_base_that_cannot_be_seen_is_an_error_and_not_the_changes_own_rules(make: MakeContext) -> None:
    with pytest.raises(NelActionError):
        judged(make(event={"base_sha": "d" * 40}))


def test_rules_come_back_from_the_check(make: MakeContext, tmp_path: Path) -> None:
    found = judged(make())
    again = parse_rules(dump_rules(found), tmp_path)
    assert (again.policy, again.expected, again.notes) == (found.policy, found.expected, found.notes)
    assert parse_rules(dump_rules(judged(make(gate="false"))), tmp_path).policy is None


@pytest.mark.parametrize("data", [{"policy": None}, {"policy": {"tasks": 3}, "expected": [], "notes": []}])
def test_rules_that_are_not_whole_are_refused(tmp_path: Path, data: dict[str, Any]) -> None:
    with pytest.raises((ValueError, KeyError)):
        parse_rules(data, tmp_path)
