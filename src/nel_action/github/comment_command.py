"""The main step of a command in a comment: which commit it evaluates, and what a command with arguments may change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from nel_action.driver.surroundings import Rules
from nel_action.errors import NelActionError, UnreachableError, UsageError
from nel_action.github.api import GitHubApi
from nel_action.github.checkout import head_commit
from nel_action.github.commands import Command, Comment, Refusal, authorize, parse_command, read_comment
from nel_action.github.context import ActionContext
from nel_action.github.event import EventKind, WorkflowEvent, parse_pull_request
from nel_action.github.inputs import Mode
from nel_action.github.sticky import StickyComment, token_login
from nel_action.lifecycle.loading import select_tasks

if TYPE_CHECKING:
    from nel_action.spec.compose import LoadedSpec
    from nel_action.spec.model import Spec

__all__ = ["accept_command", "narrow", "restore_command"]


def accept_command(context: ActionContext) -> ActionContext:
    """Return the context of the pull request that the comment is on; answer a command that is refused.

    Everything that the first step of the workflow verified is verified again, since the head may have moved.

    Raises:
        UsageError: the comment is no command, or it is refused.
        UnreachableError: whether the command may be executed cannot be read from GitHub.
    """
    comment, api = read_comment(context.event.payload), context.api
    if comment is None or not comment.is_command or api is None:
        msg = "the comment is no command" if api else "a command in a comment needs a token"
        raise UsageError(msg, hint="use workflows/commands.yml, which ignores other comments")
    try:
        return _accept(context, comment, api)
    except Refusal as refusal:
        author = token_login(api, context.event.graphql_url)
        answer = StickyComment(api, context.event.repository, comment.pull_request, key=_key(comment), author=author)
        try:
            answer.write(f"/evaluate is refused: {refusal}.\n")
        except NelActionError as error:
            context.workflow.log(f"the answer could not be written: {error}")
        msg = f"/evaluate is refused: {refusal}"
        raise (UnreachableError if refusal.unreachable else UsageError)(msg) from refusal


def _accept(context: ActionContext, comment: Comment, api: GitHubApi) -> ActionContext:
    repository = context.event.repository

    def get(path: str, query: Mapping[str, str]) -> Any:  # noqa: ANN401 - JSON
        return api.get(path, **query)

    authorized = authorize(comment, get, repository)
    if authorized is None:
        msg = "the author of the comment has no write access"
        raise UsageError(msg)
    command, pull = authorized
    event = replace(context.event, **parse_pull_request(pull, repository))
    checked_out = head_commit(context.root)
    if checked_out is None or checked_out != event.head_sha:
        msg = f"the head has moved to {event.head_short}, and {(checked_out or 'no commit')[:9]} is checked out"
        raise Refusal(msg)
    data = asdict(replace(event, payload={}))
    context.state.update(event=data, head_sha=event.head_sha or "")
    return _with_command(context, event, command, comment)


def restore_command(context: ActionContext) -> ActionContext:
    """Return the context that `accept_command` returned in the main step; without a request."""
    state, comment = context.state.read(), read_comment(context.event.payload)
    if state is None or not state.event or comment is None:
        return context
    fields: dict[str, Any] = dict(state.event)
    event = WorkflowEvent(**(fields | {"kind": EventKind(fields["kind"]), "payload": context.event.payload}))
    return _with_command(context, event, parse_command(comment.body), comment)


def _with_command(context: ActionContext, event: WorkflowEvent, command: Command, comment: Comment) -> ActionContext:
    if not command.informative:
        return replace(context, event=event)
    # NOTE: no check, no policy, no baseline, no export, no history: the command only shows scores.
    inputs = replace(
        context.inputs, mode=Mode.RUN, gate=False, baseline=None, exporters=(), history_branch=None, check_name=""
    )
    return replace(context, event=event, inputs=inputs, command=command, answer_key=_key(comment))


def _key(comment: Comment) -> str:
    return f"command-{comment.id}"


def narrow(loaded: LoadedSpec, command: Command, rules: Rules, base_tasks: frozenset[str]) -> tuple[LoadedSpec, Rules]:
    """Return the spec with the tasks, items and model of the command, and rules that decide nothing.

    Args:
        loaded: the spec of the head.
        command: tasks, items and model.
        rules: of the bases.
        base_tasks: tasks that the specs of all bases have.

    Raises:
        UsageError: a task is not one of the bases', or the model cannot be set.
        NelActionError: the bases have no rules for this spec.
    """
    if problem := next((each.unmeasurable for each in rules.all if each.unmeasurable), None):
        raise NelActionError(problem)
    names = [_full_name(name, base_tasks) for name in command.tasks]
    loaded = select_tasks(loaded, names)
    spec = loaded.spec.model_copy(update={"gate": None})
    if command.limit is not None:
        tasks = tuple(
            task.model_copy(update={"params": task.params.model_copy(update={"limit_samples": command.limit})})
            for task in spec.evaluation.tasks
        )
        spec = spec.model_copy(update={"evaluation": spec.evaluation.model_copy(update={"tasks": tasks})})
    if command.model is not None:
        spec = _with_model(spec, command.model)
    notes = ("judged by no policy; no check, baseline or history is affected",)
    expected = tuple(task.name for task in spec.evaluation.tasks)
    return replace(loaded, spec=spec), Rules(policy=None, expected=expected, folder=loaded.base_dir, notes=notes)


def _full_name(name: str, base_tasks: frozenset[str]) -> str:
    """Return the task of the base that a name, or its last part, denotes.

    Raises:
        UsageError: none or several.
    """
    matching = [task for task in base_tasks if task == name] or [
        task for task in base_tasks if task.endswith(f".{name}")
    ]
    if len(matching) == 1:
        return matching[0]
    msg = f"'{name}' is {'ambiguous' if matching else 'no task of the base'}"
    raise UsageError(msg, hint=f"the tasks are {', '.join(sorted(base_tasks))}")


def _with_model(spec: Spec, model: str) -> Spec:
    if spec.targets or spec.deployment.type != "none":
        msg = "`target.model` cannot be set: the spec has several targets, or serves the model itself"
        raise UsageError(msg)
    endpoint = spec.target.api_endpoint.model_copy(update={"model_id": model})
    return spec.model_copy(update={"target": spec.target.model_copy(update={"api_endpoint": endpoint})})
