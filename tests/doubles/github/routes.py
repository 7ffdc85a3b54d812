"""What the GitHub double does with a request: one function for each route."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.doubles.github.description import complete
from tests.doubles.github.store import Identity, Store, newest_of_each

__all__ = ["ROUTES", "Answer", "Asked", "Route", "find"]

COMMENT_LIMIT = 65536


@dataclass(frozen=True, slots=True)
class Asked:
    """A request that passed the description, and who sent it."""

    store: Store
    who: Identity
    parts: tuple[str, ...]
    query: dict[str, str]
    body: dict[str, Any]
    base: str

    def number(self) -> int:
        return int(self.parts[0])


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, JSON (or bytes) and headers."""

    status: int
    json: Any = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Route:
    """A path of the repository, the right it needs, and who answers."""

    method: str
    pattern: str
    rights: tuple[str, ...]
    answer: Callable[[Asked], Answer]


ROUTES: list[Route] = []


def route(method: str, pattern: str, *rights: str) -> Callable[[Callable[[Asked], Answer]], Callable[[Asked], Answer]]:
    def keep(answer: Callable[[Asked], Answer]) -> Callable[[Asked], Answer]:
        ROUTES.append(Route(method, f"^{pattern}$", rights, answer))
        return answer

    return keep


def find(method: str, target: str, repository: str) -> tuple[Route, tuple[str, ...], dict[str, str]] | None:
    split = urlsplit(target)
    prefix = f"/repos/{repository}"
    if not split.path.startswith(prefix):
        return None
    for known in ROUTES:
        match = re.match(known.pattern, split.path.removeprefix(prefix))
        if match and known.method == method:
            query = {name: values[0] for name, values in parse_qs(split.query).items()}
            return known, tuple(unquote(part) for part in match.groups()), query
    return None


def refused(status: int, message: str, *errors: dict[str, str]) -> Answer:
    return Answer(status, {"message": message, "documentation_url": "https://docs.github.com/rest", "errors": errors})


NOT_FOUND = Answer(404, {"message": "Not Found", "documentation_url": "https://docs.github.com/rest"})


def _paged(asked: Asked, items: list[Any], key: str | None = None, path: str = "") -> Answer:
    size, page = int(asked.query.get("per_page", "30")), int(asked.query.get("page", "1"))
    size = min(size, 100)
    shown = items[(page - 1) * size : page * size]
    headers = {}
    if page * size < len(items):
        rest = "&".join(f"{name}={value}" for name, value in asked.query.items() if name not in {"page", "per_page"})
        tail = f"?per_page={size}&page={page + 1}{'&' if rest else ''}{rest}"
        headers["Link"] = f'<{asked.base}{path}{tail}>; rel="next"'
    return Answer(200, {"total_count": len(items), key: shown} if key else shown, headers)


@route("GET", r"/issues/(\d+)/comments", "issues", "pull-requests")
def list_comments(asked: Asked) -> Answer:
    path = f"/repos/{asked.store.repository}/issues/{asked.number()}/comments"
    return _paged(asked, asked.store.comments_of(asked.number()), path=path)


def _too_long(body: str) -> Answer | None:
    if len(body) <= COMMENT_LIMIT:
        return None
    error = {"resource": "IssueComment", "code": "unprocessable", "field": "data"}
    message = f"Body is too long (maximum is {COMMENT_LIMIT} characters)"
    return refused(422, "Validation Failed", error | {"message": message})


@route("POST", r"/issues/(\d+)/comments", "issues", "pull-requests")
def create_comment(asked: Asked) -> Answer:
    long = _too_long(asked.body["body"])
    return long or Answer(201, asked.store.add_comment(asked.number(), asked.body["body"], asked.who))


@route("PATCH", r"/issues/comments/(\d+)", "issues", "pull-requests")
def edit_comment(asked: Asked) -> Answer:
    comment = asked.store.comments.get(asked.number())
    if comment is None:
        return NOT_FOUND
    long = _too_long(asked.body["body"])
    if long:
        return long
    comment["body"] = asked.body["body"]
    asked.store.comment_edits.append((asked.number(), asked.body["body"]))
    return Answer(200, comment)


@route("DELETE", r"/issues/comments/(\d+)", "issues", "pull-requests")
def delete_comment(asked: Asked) -> Answer:
    return Answer(204) if asked.store.comments.pop(asked.number(), None) else NOT_FOUND


@route("POST", r"/check-runs", "checks")
def create_check(asked: Asked) -> Answer:
    number = asked.store.next_id()
    check = complete("check-run", {"id": number, "name": asked.body["name"], "head_sha": asked.body["head_sha"]})
    check |= {"status": "queued", "conclusion": None, "external_id": "", "details_url": asked.base}
    check["check_suite"] = {"id": 1}
    check["app"] = complete("nullable-integration", {"slug": "github-actions", "id": 15368, "name": "GitHub Actions"})
    asked.store.checks[number] = check
    asked.store.annotations[number] = []
    asked.store.check_history[number] = []
    _apply(asked, number)
    return Answer(201, check)


@route("PATCH", r"/check-runs/(\d+)", "checks")
def edit_check(asked: Asked) -> Answer:
    if asked.number() not in asked.store.checks:
        return NOT_FOUND
    _apply(asked, asked.number())
    return Answer(200, asked.store.checks[asked.number()])


def _apply(asked: Asked, number: int) -> None:
    check, body = asked.store.checks[number], asked.body
    for name in ("status", "conclusion", "external_id", "details_url", "started_at", "completed_at", "name"):
        if name in body:
            check[name] = body[name]
    if body.get("conclusion"):
        check["status"] = "completed"
        check["completed_at"] = body.get("completed_at", "2026-01-01T00:00:00Z")
    elif body.get("status") == "in_progress":
        check["conclusion"] = check["completed_at"] = None
    if "output" in body:
        asked.store.annotations[number] += body["output"].get("annotations", [])
        count = len(asked.store.annotations[number])
        shown = {name: body["output"].get(name) for name in ("title", "summary", "text")}
        check["output"] = shown | {"annotations_count": count, "annotations_url": asked.base}
    elif check["output"]["title"] == "x":
        check["output"] |= {"title": None, "summary": None, "text": None, "annotations_count": 0}
    asked.store.check_history[number].append(dict(body))


@route("GET", r"/check-runs/(\d+)", "checks")
def show_check(asked: Asked) -> Answer:
    check = asked.store.checks.get(asked.number())
    return Answer(200, check) if check else NOT_FOUND


@route("GET", r"/commits/([^/]+)/check-runs", "checks")
def list_checks(asked: Asked) -> Answer:
    checks = asked.store.checks_of(asked.parts[0])
    if asked.query.get("filter", "latest") == "latest":
        checks = newest_of_each(checks)
    for name, field_name in (("check_name", "name"), ("status", "status")):
        if name in asked.query:
            checks = [check for check in checks if check[field_name] == asked.query[name]]
    path = f"/repos/{asked.store.repository}/commits/{asked.parts[0]}/check-runs"
    return _paged(asked, checks, "check_runs", path)


@route("GET", r"/commits", "contents")
def list_commits(asked: Asked) -> Answer:
    people = {"author": asked.who.user(), "committer": asked.who.user()}
    shown = [complete("commit", {"sha": sha} | people) for sha in asked.store.commits]
    return _paged(asked, shown, path=f"/repos/{asked.store.repository}/commits")


@route("GET", r"/commits/([^/]+)/pulls", "pull-requests")
def list_pulls_of_commit(asked: Asked) -> Answer:
    found = [pull for pull in asked.store.pulls.values() if pull["head"]["sha"] == asked.parts[0]]
    return _paged(asked, [asked.store.show_pull(pull, "pull-request-simple") for pull in found])


@route("GET", r"/pulls", "pull-requests")
def list_pulls(asked: Asked) -> Answer:
    state = asked.query.get("state", "open")
    pulls = [pull for pull in asked.store.pulls.values() if state in {"all", pull["state"]}]
    if "head" in asked.query:
        owner, _, ref = asked.query["head"].partition(":")
        pulls = [p for p in pulls if (p["head"]["repo"]["owner"]["login"], p["head"]["ref"]) == (owner, ref)]
    shown = [asked.store.show_pull(pull, "pull-request-simple") for pull in pulls]
    return _paged(asked, shown, path=f"/repos/{asked.store.repository}/pulls")


@route("GET", r"/pulls/(\d+)", "pull-requests")
def show_pull(asked: Asked) -> Answer:
    pull = asked.store.pulls.get(asked.number())
    return Answer(200, asked.store.show_pull(pull, "pull-request")) if pull else NOT_FOUND


@route("GET", r"/issues", "issues")
def list_issues(asked: Asked) -> Answer:
    state, labels = asked.query.get("state", "open"), set(filter(None, asked.query.get("labels", "").split(",")))
    found = [
        issue
        for _, issue in sorted(asked.store.issues.items(), reverse=True)
        if state in {"all", issue["state"]}
        and labels <= {label["name"] for label in issue["labels"]}
        and asked.query.get("creator", issue["user"]["login"]) == issue["user"]["login"]
    ]
    return _paged(asked, found, path=f"/repos/{asked.store.repository}/issues")


@route("POST", r"/issues", "issues")
def create_issue(asked: Asked) -> Answer:
    number = asked.store.next_id()
    known = {"number": number, "state": "open", "title": asked.body["title"], "body": asked.body.get("body", "")}
    issue = complete("issue", known | {"user": asked.who.user(), "closed_at": None})
    issue["labels"] = [{"name": label} for label in asked.body.get("labels", [])]
    asked.store.issues[number] = issue
    return Answer(201, issue)


@route("PATCH", r"/issues/(\d+)", "issues")
def edit_issue(asked: Asked) -> Answer:
    issue = asked.store.issues.get(asked.number())
    if issue is None:
        return NOT_FOUND
    issue |= {name: asked.body[name] for name in ("title", "body", "state", "state_reason") if name in asked.body}
    return Answer(200, issue)


@route("GET", r"/git/ref/(.+)", "contents")
def show_ref(asked: Asked) -> Answer:
    sha = asked.store.refs.get(asked.parts[0])
    return Answer(200, _ref(asked.parts[0], sha)) if sha else NOT_FOUND


@route("POST", r"/git/refs", "contents")
def create_ref(asked: Asked) -> Answer:
    name = asked.body["ref"].removeprefix("refs/")
    if name in asked.store.refs:
        return refused(422, "Reference already exists")
    if asked.body["sha"] not in asked.store.objects:
        return refused(422, "Object does not exist")
    asked.store.refs[name] = asked.body["sha"]
    return Answer(201, _ref(name, asked.body["sha"]))


@route("PATCH", r"/git/refs/(.+)", "contents")
def move_ref(asked: Asked) -> Answer:
    name, sha = asked.parts[0], asked.body["sha"]
    if name not in asked.store.refs:
        return refused(422, "Reference does not exist")
    known = {sha, *asked.store.objects[sha]["parents"]}
    if asked.store.refs[name] not in known and not asked.body.get("force"):
        return refused(422, "Update is not a fast forward")
    asked.store.refs[name] = sha
    return Answer(200, _ref(name, sha))


def _ref(name: str, sha: str) -> dict[str, Any]:
    shown = complete("git-ref", {"ref": f"refs/{name}"})
    return shown | {"object": {"type": "commit", "sha": sha, "url": "https://api.github.com/x"}}


@route("POST", r"/git/trees", "contents")
def create_tree(asked: Asked) -> Answer:
    kept = {item["path"]: item for item in asked.store.objects.get(asked.body.get("base_tree", ""), [])}
    for item in asked.body["tree"]:
        sha = item.get("sha") or asked.store.put_object("blob", item["content"])
        kept[item["path"]] = {"path": item["path"], "mode": item["mode"], "type": "blob", "sha": sha}
    sha = asked.store.put_object("tree", sorted(kept.values(), key=lambda item: str(item["path"])))
    return Answer(201, _tree(asked, sha))


@route("GET", r"/git/trees/([0-9a-f]+)", "contents")
def show_tree(asked: Asked) -> Answer:
    return Answer(200, _tree(asked, asked.parts[0])) if asked.parts[0] in asked.store.objects else NOT_FOUND


def _tree(asked: Asked, sha: str) -> dict[str, Any]:
    return complete("git-tree", {"sha": sha, "tree": asked.store.objects[sha], "truncated": False})


@route("GET", r"/git/blobs/([0-9a-f]+)", "contents")
def show_blob(asked: Asked) -> Answer:
    text = asked.store.objects.get(asked.parts[0])
    if text is None:
        return NOT_FOUND
    content = base64.encodebytes(text.encode()).decode()
    return Answer(200, complete("blob", {"sha": asked.parts[0], "content": content, "encoding": "base64"}))


@route("POST", r"/git/commits", "contents")
def create_commit(asked: Asked) -> Answer:
    if asked.body["tree"] not in asked.store.objects:
        return refused(422, "Tree SHA does not exist")
    content = {"tree": asked.body["tree"], "parents": asked.body.get("parents", []), "message": asked.body["message"]}
    return Answer(201, _commit(asked, asked.store.put_object("commit", content)))


@route("GET", r"/git/commits/([0-9a-f]+)", "contents")
def show_commit(asked: Asked) -> Answer:
    return Answer(200, _commit(asked, asked.parts[0])) if asked.parts[0] in asked.store.objects else NOT_FOUND


def _commit(asked: Asked, sha: str) -> dict[str, Any]:
    content = asked.store.objects[sha]
    shown = complete("git-commit", {"sha": sha, "message": content["message"]})
    shown["tree"] = {"sha": content["tree"], "url": "https://api.github.com/x"}
    parents = [
        {"sha": parent, "url": "https://api.github.com/x", "html_url": "https://x"} for parent in content["parents"]
    ]
    return shown | {"parents": parents}


@route("GET", r"/actions/runs", "actions")
def list_runs(asked: Asked) -> Answer:
    runs = [complete("workflow-run", run) for _, run in sorted(asked.store.runs.items(), reverse=True)]
    return _paged(asked, runs, "workflow_runs", f"/repos/{asked.store.repository}/actions/runs")


@route("GET", r"/actions/runs/(\d+)", "actions")
def show_run(asked: Asked) -> Answer:
    run = asked.store.runs.get(asked.number())
    return Answer(200, complete("workflow-run", run)) if run else NOT_FOUND


@route("GET", r"/actions/runs/(\d+)/artifacts", "actions")
def list_artifacts_of_run(asked: Asked) -> Answer:
    found = [a for a in asked.store.artifacts.values() if a["workflow_run"]["id"] == asked.number()]
    named = [a for a in found if asked.query.get("name", a["name"]) == a["name"]]
    return _paged(asked, named, "artifacts")


@route("GET", r"/actions/artifacts", "actions")
def list_artifacts(asked: Asked) -> Answer:
    found = [a for a in asked.store.artifacts.values() if asked.query.get("name", a["name"]) == a["name"]]
    return _paged(asked, sorted(found, key=lambda a: -a["id"]), "artifacts")


@route("GET", r"/actions/artifacts/(\d+)/zip", "actions")
def download(asked: Asked) -> Answer:
    if asked.number() not in asked.store.archives:
        return NOT_FOUND
    # NOTE: storage is another host: a client that sends its token there as well is found out.
    elsewhere = asked.base.replace("127.0.0.1", "localhost")
    return Answer(302, None, {"Location": f"{elsewhere}/storage/{asked.number()}"})
