"""From a task as the user wrote it to a task as its harness knows it, with every default filled in."""

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
from nel_action.spec.evaluation import Task
from nel_action.spec.model import Spec
from nel_action.spec.params import TaskParams
from nel_action.spec.target import ApiEndpoint

__all__ = ["Locate", "asked_route", "endpoint_type", "find_task", "merge", "resolve_task"]

Locate = Callable[[Sequence[str | int]], Location | None]
"""From the path of a key in the spec to the place where it was written."""

ROUTES: Mapping[str, EndpointType] = {
    "/chat/completions": EndpointType.CHAT,
    "/completions": EndpointType.COMPLETIONS,
    "/embeddings": EndpointType.EMBEDDING,
}
"""What the end of a URL says of the kind of request; the first that fits."""


def find_task(task: Task, place: Location | None, route: EndpointType | None = None) -> CatalogTask | None:
    """Return the catalog's entry, or None where the spec itself says who runs the task.

    Args:
        task: as the user wrote it.
        place: of its name, for messages.
        route: what the endpoint speaks, where that is known; it decides between benchmarks that shared a name.

    Raises:
        SpecError: no such task, or several; the nearest names are told.
    """
    try:
        entry = lookup(task.name)
    except NotFoundError as error:
        if task.harness or task.container:
            return None
        before = lookup_former_name(task.name, route)
        if before is not None:
            return before
        raise SpecError([Problem(p.message, place, p.hint) for p in error.problems]) from None
    # NOTE: another harness's task of the same name is another benchmark: its defaults and metric are not this one's.
    return entry if task.harness in {None, entry.adapter} else None


def endpoint_type(task: Task, entry: CatalogTask | None, api: ApiEndpoint, *, served: bool) -> EndpointType:
    """Tell which route the benchmark will speak to.

    What the task says comes first, then the target, then its URL; a served model has every route, so there the
    benchmark's own first choice decides.
    """
    supported = [EndpointType(kind) for kind in entry.endpoint_types] if entry else []
    asked = asked_route(task, api, served=served)
    if asked is None:
        return EndpointType.CHAT if not supported or EndpointType.CHAT in supported else supported[0]
    if asked is EndpointType.COMPLETIONS and asked not in supported and EndpointType.COMPLETIONS_LOGPROBS in supported:
        return EndpointType.COMPLETIONS_LOGPROBS
    if asked is EndpointType.CHAT and not (task.endpoint_type or api.type) and supported == [EndpointType.VLM]:
        # NOTE: pictures go to the chat route; its URL alone does not say that it takes none.
        return EndpointType.VLM
    return asked


def asked_route(task: Task, api: ApiEndpoint, *, served: bool) -> EndpointType | None:
    """Return the route that the task or the target names; None where the benchmark may choose."""
    return task.endpoint_type or api.type or (None if served else _by_url(api.url or ""))


def _by_url(url: str) -> EndpointType | None:
    path = url.split("?", maxsplit=1)[0].rstrip("/")
    return next((kind for end, kind in ROUTES.items() if path.endswith(end)), None)


def resolve_task(
    spec: Spec, index: int, entry: CatalogTask | None, kind: EndpointType, *, base_dir: Path, locate: Locate
) -> HarnessTask:
    """Fill in every default of the spec's task number `index`.

    Raises:
        SpecError: a parameter in the long form (`nemo_evaluator_config.config.params`) is unknown or of a wrong type.
    """
    task = spec.evaluation.tasks[index]
    own = ("evaluation", "tasks", index, "nemo_evaluator_config", "config", "params")
    layers = [
        _params(entry.params if entry else {}, None),
        _params(_long_params(spec.evaluation.nemo_evaluator_config), locate(("evaluation", *own[3:]))),
        spec.evaluation.params,
        _params(_long_params(task.nemo_evaluator_config), locate(own)),
        task.params,
    ]
    inner, params = _merge(layers)
    name, config = entry.name if entry else task.name, _config(spec, task)
    if inner and (task.harness or "nemo") == "nemo":
        # NOTE: the contract knows a task by its type; what its harness calls it is a parameter.
        config = merge(config, {"config": {"params": {"task": inner}}})
    elif inner:
        name = inner
    return HarnessTask(
        name=name,
        display=task.name,
        endpoint_type=kind,
        params=params,
        metric=task.metric or (entry.metric if entry else None),
        higher_is_better=entry.higher_is_better if entry else None,
        expected_items=task.expected_items or (entry.expected_items if entry else None),
        task_dir=(base_dir / task.task_dir).resolve() if task.task_dir else None,
        command=task.command,
        config=config,
    )


def _long_params(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return `config.params` of a nemo-evaluator configuration."""
    inner = config.get("config") or {}
    return (inner.get("params") or {}) if isinstance(inner, Mapping) else {}


def _params(data: Mapping[str, Any], place: Location | None) -> TaskParams:
    """Check parameters that were written in the long form as strictly as the short one."""
    try:
        return TaskParams.model_validate_json(json.dumps(data))
    except ValidationError as error:
        known = TaskParams.model_fields
        raise SpecError([_problem(detail, known, place) for detail in error.errors()]) from None


def _problem(detail: Any, known: Mapping[str, Any], place: Location | None) -> Problem:  # noqa: ANN401 - pydantic's own
    from difflib import get_close_matches

    name = ".".join(str(part) for part in detail["loc"])
    if detail["type"] == "extra_forbidden":
        near = get_close_matches(name, known, n=1)
        hint = f"did you mean '{near[0]}'?" if near else "what only the harness knows goes under 'extra'"
        return Problem(f"unknown parameter '{name}'; {hint}", place)
    return Problem(f"parameter '{name}': {detail['msg']}", place)


def _merge(layers: Sequence[TaskParams]) -> tuple[str | None, Params]:
    """Lay the layers over each other, the last one uppermost; `extra` is merged key by key."""
    merged: dict[str, Any] = {}
    extra: dict[str, Any] = {}
    for layer in layers:
        merged |= {name: getattr(layer, name) for name in layer.model_fields_set if getattr(layer, name) is not None}
        extra |= layer.extra
    inner = merged.pop("task", None)
    names = {item.name for item in fields(Params)} - {"extra"}
    return inner, Params(**{name: value for name, value in merged.items() if name in names}, extra=extra)


def _config(spec: Spec, task: Task) -> dict[str, Any]:
    """Merge the free part of the configuration, leaving out the parameters."""
    merged = merge(spec.evaluation.nemo_evaluator_config, task.nemo_evaluator_config)
    inner = {name: value for name, value in (merged.get("config") or {}).items() if name != "params"}
    return {name: value for name, value in merged.items() if name != "config"} | ({"config": inner} if inner else {})


def merge(lower: Mapping[str, Any], upper: Mapping[str, Any]) -> dict[str, Any]:
    """Merge mappings key by key; anything else of the upper one replaces what is below."""
    merged = dict(lower)
    for name, value in upper.items():
        below = merged.get(name)
        both = isinstance(value, Mapping) and isinstance(below, Mapping)
        merged[name] = merge(below, value) if both and isinstance(below, Mapping) else value
    return merged
