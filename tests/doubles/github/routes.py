"""The GitHub double's answers: one function per route."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.doubles.github.description import complete
from tests.doubles.github.store import Identity, Store, newest_of_each

__all__ = ["ROUTES", "Answer", "Request", "Route", "find"]

COMMENT_LIMIT = 65536


@dataclass(frozen=True, slots=True)
class Request:
    """A valid request and the identity of its token."""

    store: Store
    identity: Identity
    parts: tuple[str, ...]
    query: dict[str, str]
    body: dict[str, Any]
    base: str

    def number(self) -> int:
        return int(self.parts[0])


@dataclass(frozen=True, slots=True)
class Answer:
    """Status, JSON and headers."""

    status: int
    json: Any = None
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Route:
    """A path of the repository, the permissions of which one is required, and the function that answers."""

    method: str
    pattern: str
    permissions: tuple[str, ...]
    answer: Callable[[Request], Answer]


ROUTES: list[Route] = []


def route(
    method: str, pattern: str, *permissions: str
) -> Callable[[Callable[[Request], Answer]], Callable[[Request], Answer]]:
    def register(answer: Callable[[Request], Answer]) -> Callable[[Request], Answer]:
        ROUTES.append(Route(method, f"^{pattern}$", permissions, answer))
        return answer

    return register


def find(method: str, target: str, repository: str) -> tuple[Route, tuple[str, ...], dict[str, str]] | None:
    split = urlsplit(target)
    prefix = f"/repos/{repository}"
    if not split.path.startswith(prefix):
        return None
    for candidate in ROUTES:
        match = re.match(candidate.pattern, split.path.removeprefix(prefix))
        if match and candidate.method == method:
            query = {name: values[0] for name, values in parse_qs(split.query).items()}
            return candidate, tuple(unquote(part) for part in match.groups()), query
    return None


def refused(status: int, message: str, *errors: dict[str, str]) -> Answer:
    return Answer(status, {"message": message, "documentation_url": "https://docs.github.com/rest", "errors": errors})


NOT_FOUND = Answer(404, {"message": "Not Found", "documentation_url": "https://docs.github.com/rest"})


def _paged(request: Request, items: list[Any], key: str | None = None, path: str = "") -> Answer:
    size, page = int(request.query.get("per_page", "30")), int(request.query.get("page", "1"))
    size = min(size, 100)
    shown = items[(page - 1) * size : page * size]
    headers = {}
    if page * size < len(items):
        rest = "&".join(f"{name}={value}" for name, value in request.query.items() if name not in {"page", "per_page"})
        tail = f"?per_page={size}&page={page + 1}{'&' if rest else ''}{rest}"
        headers["Link"] = f'<{request.base}{path}{tail}>; rel="next"'
    return Answer(200, {"total_count": len(items), key: shown} if key else shown, headers)


@route("GET", r"/issues/(\d+)/comments", "issues", "pull-requests")
def list_comments(request: Request) -> Answer:
    path = f"/repos/{request.store.repository}/issues/{request.number()}/comments"
    return _paged(request, request.store.comments_of(request.number()), path=path)


def _too_long(body: str) -> Answer | None:
    if len(body) <= COMMENT_LIMIT:
        return None
    error = {"resource": "IssueComment", "code": "unprocessable", "field": "data"}
    message = f"Body is too long (maximum is {COMMENT_LIMIT} characters)"
    return refused(422, "Validation Failed", error | {"message": message})


@route("POST", r"/issues/(\d+)/comments", "issues", "pull-requests")
def create_comment(request: Request) -> Answer:
    error = _too_long(request.body["body"])
    return error or Answer(201, request.store.add_comment(request.number(), request.body["body"], request.identity))


@route("PATCH", r"/issues/comments/(\d+)", "issues", "pull-requests")
def edit_comment(request: Request) -> Answer:
    comment = request.store.comments.get(request.number())
    if comment is None:
        return NOT_FOUND
    error = _too_long(request.body["body"])
    if error:
        return error
    comment["body"] = request.body["body"]
    request.store.comment_edits.append((request.number(), request.body["body"]))
    return Answer(200, comment)


@route("DELETE", r"/issues/comments/(\d+)", "issues", "pull-requests")
def delete_comment(request: Request) -> Answer:
    return Answer(204) if request.store.comments.pop(request.number(), None) else NOT_FOUND


@route("POST", r"/check-runs", "checks")
def create_check(request: Request) -> Answer:
    number = request.store.next_id()
    check = complete("check-run", {"id": number, "name": request.body["name"], "head_sha": request.body["head_sha"]})
    check |= {"status": "queued", "conclusion": None, "external_id": "", "details_url": request.base}
    check["check_suite"] = {"id": 1}
    check["app"] = complete("nullable-integration", {"slug": "github-actions", "id": 15368, "name": "GitHub Actions"})
    request.store.checks[number] = check
    request.store.annotations[number] = []
    request.store.check_history[number] = []
    _apply(request, number)
    return Answer(201, check)


@route("PATCH", r"/check-runs/(\d+)", "checks")
def edit_check(request: Request) -> Answer:
    if request.number() not in request.store.checks:
        return NOT_FOUND
    _apply(request, request.number())
    return Answer(200, request.store.checks[request.number()])


def _apply(request: Request, number: int) -> None:
    check, body = request.store.checks[number], request.body
    for name in ("status", "conclusion", "external_id", "details_url", "started_at", "completed_at", "name"):
        if name in body:
            check[name] = body[name]
    if body.get("conclusion"):
        check["status"] = "completed"
        check["completed_at"] = body.get("completed_at", "2026-01-01T00:00:00Z")
    elif body.get("status") == "in_progress":
        check["conclusion"] = check["completed_at"] = None
    if "output" in body:
        request.store.annotations[number] += body["output"].get("annotations", [])
        count = len(request.store.annotations[number])
        shown = {name: body["output"].get(name) for name in ("title", "summary", "text")}
        check["output"] = shown | {"annotations_count": count, "annotations_url": request.base}
    elif check["output"]["title"] == "x":
        check["output"] |= {"title": None, "summary": None, "text": None, "annotations_count": 0}
    request.store.check_history[number].append(dict(body))


@route("GET", r"/check-runs/(\d+)", "checks")
def show_check(request: Request) -> Answer:
    check = request.store.checks.get(request.number())
    return Answer(200, check) if check else NOT_FOUND


@route("GET", r"/commits/([^/]+)/check-runs", "checks")
def list_checks(request: Request) -> Answer:
    checks = request.store.checks_of(request.parts[0])
    if request.query.get("filter", "latest") == "latest":
        checks = newest_of_each(checks)
    for name, field_name in (("check_name", "name"), ("status", "status")):
        if name in request.query:
            checks = [check for check in checks if check[field_name] == request.query[name]]
    path = f"/repos/{request.store.repository}/commits/{request.parts[0]}/check-runs"
    return _paged(request, checks, "check_runs", path)


@route("GET", r"/commits", "contents")
def list_commits(request: Request) -> Answer:
    people = {"author": request.identity.user(), "committer": request.identity.user()}
    shown = [complete("commit", {"sha": sha} | people) for sha in request.store.commits_from(request.query.get("sha"))]
    return _paged(request, shown, path=f"/repos/{request.store.repository}/commits")


@route("GET", r"/commits/([^/]+)/pulls", "pull-requests")
def list_pulls_of_commit(request: Request) -> Answer:
    pulls = [pull for pull in request.store.pulls.values() if pull["head"]["sha"] == request.parts[0]]
    return _paged(request, [request.store.show_pull(pull, "pull-request-simple") for pull in pulls])


@route("GET", r"/pulls", "pull-requests")
def list_pulls(request: Request) -> Answer:
    state = request.query.get("state", "open")
    pulls = [pull for pull in request.store.pulls.values() if state in {"all", pull["state"]}]
    if "head" in request.query:
        owner, _, ref = request.query["head"].partition(":")
        pulls = [p for p in pulls if (p["head"]["repo"]["owner"]["login"], p["head"]["ref"]) == (owner, ref)]
    shown = [request.store.show_pull(pull, "pull-request-simple") for pull in pulls]
    return _paged(request, shown, path=f"/repos/{request.store.repository}/pulls")


@route("GET", r"/pulls/(\d+)", "pull-requests")
def show_pull(request: Request) -> Answer:
    pull = request.store.pulls.get(request.number())
    return Answer(200, request.store.show_pull(pull, "pull-request")) if pull else NOT_FOUND


@route("GET", r"/issues", "issues")
def list_issues(request: Request) -> Answer:
    state, labels = request.query.get("state", "open"), set(filter(None, request.query.get("labels", "").split(",")))
    issues = [
        issue
        for _, issue in sorted(request.store.issues.items(), reverse=True)
        if state in {"all", issue["state"]}
        and labels <= {label["name"] for label in issue["labels"]}
        and request.query.get("creator", issue["user"]["login"]) == issue["user"]["login"]
    ]
    return _paged(request, issues, path=f"/repos/{request.store.repository}/issues")


@route("POST", r"/issues", "issues")
def create_issue(request: Request) -> Answer:
    number = request.store.next_id()
    known = {"number": number, "state": "open", "title": request.body["title"], "body": request.body.get("body", "")}
    issue = complete("issue", known | {"user": request.identity.user(), "closed_at": None})
    issue["labels"] = [{"name": label} for label in request.body.get("labels", [])]
    request.store.issues[number] = issue
    return Answer(201, issue)


@route("PATCH", r"/issues/(\d+)", "issues")
def edit_issue(request: Request) -> Answer:
    issue = request.store.issues.get(request.number())
    if issue is None:
        return NOT_FOUND
    issue |= {name: request.body[name] for name in ("title", "body", "state", "state_reason") if name in request.body}
    return Answer(200, issue)


@route("GET", r"/activity", "contents")
def list_activities(request: Request) -> Answer:
    asked = request.query.get("ref", "")
    ref = asked if asked.startswith("refs/heads/") else f"refs/heads/{asked}"
    pushes = [push for push in request.store.pushes if request.query.get("ref") is None or push["ref"] == ref]
    newest_first = sorted(pushes, key=lambda push: str(push["timestamp"]), reverse=True)
    return _paged(request, newest_first[: int(request.query.get("per_page", "30"))])


@route("GET", r"/collaborators/([^/]+)/permission", "metadata")
def show_permission(request: Request) -> Answer:
    role = request.store.roles.get(request.parts[0].lower())
    if role is None:
        return NOT_FOUND
    permission = {"maintain": "write", "triage": "read"}.get(role, role)
    user = complete("nullable-collaborator", {"login": request.parts[0], "type": "User", "id": 7})
    known = {"permission": permission, "role_name": role, "user": user}
    return Answer(200, complete("repository-collaborator-permission", known))


@route("GET", r"/git/ref/(.+)", "contents")
def show_ref(request: Request) -> Answer:
    sha = request.store.ref(request.parts[0])
    return Answer(200, _ref(request.parts[0], sha)) if sha else NOT_FOUND


@route("GET", r"/git/matching-refs/(.+)", "contents")
def list_matching_refs(request: Request) -> Answer:
    pulls = {f"pull/{number}/head": pull["head"]["sha"] for number, pull in request.store.pulls.items()}
    refs = {name: sha for name, sha in (request.store.refs | pulls).items() if name.startswith(request.parts[0])}
    return _paged(request, [_ref(name, refs[name]) for name in sorted(refs)])


@route("GET", r"", "contents")
def show_repository(request: Request) -> Answer:
    owner, name = request.store.repository.split("/")
    known = {"full_name": request.store.repository, "name": name, "owner": Identity(owner, "User").user()}
    return Answer(200, complete("full-repository", known | {"default_branch": request.store.default_branch}))


@route("POST", r"/git/refs", "contents")
def create_ref(request: Request) -> Answer:
    name = request.body["ref"].removeprefix("refs/")
    if name in request.store.refs:
        return refused(422, "Reference already exists")
    if request.body["sha"] not in request.store.objects:
        return refused(422, "Object does not exist")
    request.store.refs[name] = request.body["sha"]
    return Answer(201, _ref(name, request.body["sha"]))


@route("PATCH", r"/git/refs/(.+)", "contents")
def move_ref(request: Request) -> Answer:
    name, sha = request.parts[0], request.body["sha"]
    if name not in request.store.refs:
        return refused(422, "Reference does not exist")
    known = {sha, *request.store.objects[sha]["parents"]}
    if request.store.refs[name] not in known and not request.body.get("force"):
        return refused(422, "Update is not a fast forward")
    request.store.refs[name] = sha
    return Answer(200, _ref(name, sha))


def _ref(name: str, sha: str) -> dict[str, Any]:
    shown = complete("git-ref", {"ref": f"refs/{name}"})
    return shown | {"object": {"type": "commit", "sha": sha, "url": "https://api.github.com/x"}}


@route("POST", r"/git/trees", "contents")
def create_tree(request: Request) -> Answer:
    kept = {item["path"]: item for item in request.store.objects.get(request.body.get("base_tree", ""), [])}
    for item in request.body["tree"]:
        sha = item.get("sha") or request.store.put_object("blob", item["content"])
        kept[item["path"]] = {"path": item["path"], "mode": item["mode"], "type": "blob", "sha": sha}
    sha = request.store.put_object("tree", sorted(kept.values(), key=lambda item: str(item["path"])))
    return Answer(201, _tree(request, sha))


@route("GET", r"/git/trees/([0-9a-f]+)", "contents")
def show_tree(request: Request) -> Answer:
    return Answer(200, _tree(request, request.parts[0])) if request.parts[0] in request.store.objects else NOT_FOUND


def _tree(request: Request, sha: str) -> dict[str, Any]:
    return complete("git-tree", {"sha": sha, "tree": request.store.objects[sha], "truncated": request.store.truncated})


@route("GET", r"/git/blobs/([0-9a-f]+)", "contents")
def show_blob(request: Request) -> Answer:
    text = request.store.objects.get(request.parts[0])
    if text is None:
        return NOT_FOUND
    content = base64.encodebytes(text.encode()).decode()
    return Answer(200, complete("blob", {"sha": request.parts[0], "content": content, "encoding": "base64"}))


@route("POST", r"/git/commits", "contents")
def create_commit(request: Request) -> Answer:
    if request.body["tree"] not in request.store.objects:
        return refused(422, "Tree SHA does not exist")
    content = {
        "tree": request.body["tree"],
        "parents": request.body.get("parents", []),
        "message": request.body["message"],
    }
    return Answer(201, _commit(request, request.store.put_object("commit", content)))


@route("GET", r"/git/commits/([0-9a-f]+)", "contents")
def show_commit(request: Request) -> Answer:
    return Answer(200, _commit(request, request.parts[0])) if request.parts[0] in request.store.objects else NOT_FOUND


def _commit(request: Request, sha: str) -> dict[str, Any]:
    content = request.store.objects[sha]
    shown = complete("git-commit", {"sha": sha, "message": content["message"]})
    shown["tree"] = {"sha": content["tree"], "url": "https://api.github.com/x"}
    parents = [
        {"sha": parent, "url": "https://api.github.com/x", "html_url": "https://x"} for parent in content["parents"]
    ]
    return shown | {"parents": parents}


@route("GET", r"/actions/runs", "actions")
def list_runs(request: Request) -> Answer:
    runs = [complete("workflow-run", run) for _, run in sorted(request.store.runs.items(), reverse=True)]
    return _paged(request, runs, "workflow_runs", f"/repos/{request.store.repository}/actions/runs")


@route("GET", r"/actions/runs/(\d+)", "actions")
def show_run(request: Request) -> Answer:
    run = request.store.runs.get(request.number())
    uploaded = {artifact["workflow_run"]["id"] for artifact in request.store.artifacts.values()}
    if run is None and request.number() not in uploaded:
        return NOT_FOUND
    return Answer(200, complete("workflow-run", {"id": request.number(), "event": "push"} | (run or {})))


@route("GET", r"/actions/runs/(\d+)/artifacts", "actions")
def list_artifacts_of_run(request: Request) -> Answer:
    artifacts = [a for a in request.store.artifacts.values() if a["workflow_run"]["id"] == request.number()]
    named = [a for a in artifacts if request.query.get("name", a["name"]) == a["name"]]
    return _paged(request, named, "artifacts")


@route("GET", r"/actions/artifacts", "actions")
def list_artifacts(request: Request) -> Answer:
    artifacts = [a for a in request.store.artifacts.values() if request.query.get("name", a["name"]) == a["name"]]
    return _paged(request, sorted(artifacts, key=lambda a: -a["id"]), "artifacts")


@route("GET", r"/actions/artifacts/(\d+)/zip", "actions")
def download(request: Request) -> Answer:
    if request.number() not in request.store.archives:
        return NOT_FOUND
    # NOTE: storage has another host name, so a client that also sends its token there is detected.
    storage = request.base.replace("127.0.0.1", "localhost")
    return Answer(302, None, {"Location": f"{storage}/storage/{request.number()}"})
