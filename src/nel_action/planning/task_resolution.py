"""Resolution of a task: catalog entry, endpoint type, and parameters with all defaults."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from nel_action.catalog.lookup import CatalogTask, lookup, lookup_former_name
from nel_action.errors import Location, NotFoundError, Problem, SpecError
from nel_action.model.task import EndpointType, HarnessTask, Params
from nel_action.spec.evaluation import Task, TaskParams
from nel_action.spec.model import Spec
from nel_action.spec.nested import merge
from nel_action.spec.target import ApiEndpoint

__all__ = ["Locate", "configured_route", "endpoint_type", "find_task", "resolve_task"]

Locate = Callable[[Sequence[str | int]], Location | None]
"""Maps the path of a key in the spec to its source position."""

ROUTES: Mapping[str, EndpointType] = {
    "/chat/completions": EndpointType.CHAT,
    "/completions": EndpointType.COMPLETIONS,
    "/embeddings": EndpointType.EMBEDDING,
}
"""Endpoint type by the end of a URL; the first match applies."""


def find_task(task: Task, location: Location | None, route: EndpointType | None = None) -> CatalogTask | None:
    """Return the catalog entry of a task; None if the spec itself names the harness or container.

    Args:
        task: the task in the spec.
        location: source position of its name, for messages.
        route: endpoint type, if it is configured; it distinguishes benchmarks that had the same name.

    Raises:
        SpecError: the catalog has no such task, or several; the error names the most similar ones.
    """
    try:
        entry = lookup(task.name)
    except NotFoundError as error:
        if task.harness or task.container:
            return None
        renamed = lookup_former_name(task.name, route)
        if renamed is not None:
            return renamed
        raise SpecError([Problem(p.message, location, p.hint) for p in error.problems]) from None
    # NOTE: the task of the same name in another harness is another benchmark with other defaults and metrics.
    return entry if task.harness in {None, entry.adapter} else None


def endpoint_type(task: Task, entry: CatalogTask | None, api: ApiEndpoint, *, served: bool) -> EndpointType:
    """Return the endpoint type that a benchmark uses.

    The task takes precedence over the target, and the target over its URL. A deployment serves all types, so the
    benchmark's preferred one applies there.

    Args:
        task: the task in the spec.
        entry: its catalog entry.
        api: the target's endpoint.
        served: whether a deployment serves the target.
    """
    supported = [EndpointType(kind) for kind in entry.endpoint_types] if entry else []
    route = configured_route(task, api, served=served)
    if route is None:
        return EndpointType.CHAT if not supported or EndpointType.CHAT in supported else supported[0]
    if route is EndpointType.COMPLETIONS and route not in supported and EndpointType.COMPLETIONS_LOGPROBS in supported:
        return EndpointType.COMPLETIONS_LOGPROBS
    if route is EndpointType.CHAT and not (task.endpoint_type or api.type) and supported == [EndpointType.VLM]:
        # NOTE: images are sent to the chat route, so its URL does not exclude them.
        return EndpointType.VLM
    return route


def configured_route(task: Task, api: ApiEndpoint, *, served: bool) -> EndpointType | None:
    """Return the endpoint type that the task or the target configures; None if the benchmark may choose.

    Args:
        task: the task in the spec.
        api: the target's endpoint.
        served: whether a deployment serves the target.
    """
    return task.endpoint_type or api.type or (None if served else _route_of_url(api.url or ""))


def _route_of_url(url: str) -> EndpointType | None:
    path = url.split("?", maxsplit=1)[0].rstrip("/")
    return next((route for suffix, route in ROUTES.items() if path.endswith(suffix)), None)


def resolve_task(
    spec: Spec, index: int, entry: CatalogTask | None, route: EndpointType, *, base_dir: Path, locate: Locate
) -> HarnessTask:
    """Return a task with all defaults.

    Args:
        spec: the spec.
        index: of the task.
        entry: its catalog entry.
        route: its endpoint type.
        base_dir: directory to which the spec's paths are relative.
        locate: maps a key to its source position.

    Raises:
        SpecError: a parameter in `nemo_evaluator_config.config.params` is unknown or has the wrong type.
    """
    task = spec.evaluation.tasks[index]
    path = ("evaluation", "tasks", index, "nemo_evaluator_config", "config", "params")
    layers = [
        _parse_params(entry.params if entry else {}, None),
        _parse_params(_nested_params(spec.evaluation.nemo_evaluator_config), locate(("evaluation", *path[3:]))),
        spec.evaluation.params,
        _parse_params(_nested_params(task.nemo_evaluator_config), locate(path)),
        task.params,
    ]
    harness_name, params = _merge_params(layers)
    name, config = entry.name if entry else task.name, _config(spec, task)
    if harness_name and (task.harness or "nemo") == "nemo":
        # NOTE: nemo-evaluator identifies a task by its type; the harness's own name of it is a parameter.
        config = merge(config, {"config": {"params": {"task": harness_name}}})
    elif harness_name:
        name = harness_name
    return HarnessTask(
        name=name,
        display=task.name,
        endpoint_type=route,
        params=params,
        metric=task.metric or (entry.metric if entry else None),
        higher_is_better=entry.higher_is_better if entry else None,
        expected_items=task.expected_items or (entry.expected_items if entry else None),
        task_dir=(base_dir / task.task_dir).resolve() if task.task_dir else None,
        command=task.command,
        config=config,
    )


def _nested_params(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return `config.params` of a nemo-evaluator configuration."""
    inner = config.get("config") or {}
    return (inner.get("params") or {}) if isinstance(inner, Mapping) else {}


def _parse_params(data: Mapping[str, Any], location: Location | None) -> TaskParams:
    """Validate parameters as strictly as those of `params`.

    Raises:
        SpecError: a parameter is unknown or has the wrong type.
    """
    try:
        return TaskParams.model_validate_json(json.dumps(data))
    except ValidationError as error:
        raise SpecError([_param_problem(detail, location) for detail in error.errors()]) from None


def _param_problem(detail: Any, location: Location | None) -> Problem:  # noqa: ANN401 - pydantic's own
    from difflib import get_close_matches

    name = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        similar = get_close_matches(name, TaskParams.model_fields, n=1)
        hint = f"did you mean '{similar[0]}'?" if similar else "put parameters of the harness under 'extra'"
        return Problem(f"unknown parameter '{name}'; {hint}", location)
    return Problem(f"parameter '{name}': {detail['msg']}", location)


def _merge_params(layers: Sequence[TaskParams]) -> tuple[str | None, Params]:
    """Merge parameters, later layers taking precedence; `extra` is merged key by key.

    Returns:
        The harness's own name of the task, if it is given, and the parameters.
    """
    merged: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for layer in layers:
        merged |= {name: getattr(layer, name) for name in layer.model_fields_set if getattr(layer, name) is not None}
        extra |= layer.extra
    harness_name = merged.pop("task", None)
    names = {item.name for item in fields(Params)} - {"extra"}
    return harness_name, Params(**{name: value for name, value in merged.items() if name in names}, extra=extra)


def _config(spec: Spec, task: Task) -> dict[str, Any]:
    """Merge the nemo-evaluator configurations of evaluation and task, without the parameters."""
    merged = merge(spec.evaluation.nemo_evaluator_config, task.nemo_evaluator_config)
    inner = {name: value for name, value in (merged.get("config") or {}).items() if name != "params"}
    return {name: value for name, value in merged.items() if name != "config"} | ({"config": inner} if inner else {})
