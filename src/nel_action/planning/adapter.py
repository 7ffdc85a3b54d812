"""The launcher's `adapter_config` as steps of the gateway, for harnesses that have no adapter of their own.

Two forms are accepted, as by nemo-evaluator: flat keys (`use_reasoning: true`) and a list of interceptors. Names and
meanings are those of nemo-evaluator's documentation; see docs/gateway.md.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from nel_action.errors import Problem
from nel_action.model.task import EndpointType
from nel_action.planning.jobs import AdapterSteps

__all__ = ["adapter_steps"]

_COVERED: Final = frozenset({
    "use_caching", "caching_dir", "save_requests", "save_responses", "max_saved_requests", "max_saved_responses",
    "use_progress_tracking", "progress_tracking_interval", "generate_html_report", "html_report_size", "include_json",
    "output_dir", "endpoint_type", "tracking_requests_stats", "use_response_stats", "track_reasoning",
    "logging_aggregated_stats_interval",
})  # fmt: skip
"""Keys whose purpose the record, the counters and the report of nel-action serve in any case."""
_STEPS: Final = frozenset({
    "use_system_prompt", "custom_system_prompt", "use_reasoning", "process_reasoning_traces", "start_reasoning_token",
    "end_reasoning_token", "include_if_reasoning_not_finished", "params_to_add", "params_to_remove", "params_to_rename",
    "use_request_logging", "max_logged_requests", "use_response_logging", "max_logged_responses",
    "log_failed_requests", "use_raise_client_errors",
})  # fmt: skip
_UNSUPPORTED: Final = frozenset({
    "use_omni_info", "use_nvcf", "use_megatron", "megatron_tokenizer", "megatron_template_kwargs", "discovery",
    "post_eval_hooks", "progress_tracking_url",
})  # fmt: skip
_COVERED_INTERCEPTORS: Final = frozenset({"caching", "endpoint", "response_stats", "progress_tracking"})
_CLIENT_ERRORS: Final[Mapping[str, Any]] = {"first": 400, "last": 499, "except": [408, 429]}
_CHAT: Final = frozenset({EndpointType.CHAT, EndpointType.VLM})
_TEXT: Final = frozenset({EndpointType.CHAT, EndpointType.VLM, EndpointType.COMPLETIONS})


@dataclass
class _Builder:
    """Collects the steps and the problems of one configuration."""

    steps: dict[str, Any] = field(default_factory=dict)
    log: dict[str, Any] = field(default_factory=dict)
    client_errors: dict[str, Any] = field(default_factory=dict)
    problems: list[tuple[str, str, str | None]] = field(default_factory=list)
    """Key, message, hint."""

    def problem(self, key: str, message: str, hint: str | None = None) -> None:
        self.problems.append((key, message, hint))

    def value(self, config: Mapping[str, Any], key: str, kind: type | tuple[type, ...], default: Any = None) -> Any:  # noqa: ANN401
        """Return a value of a configuration, or its default where it is missing, null or of another type."""
        value = config.get(key)
        if value is None:
            return default
        if not isinstance(value, kind) or (isinstance(value, bool) and kind is int):
            expected = {str: "text", dict: "a mapping", list: "a list", bool: "true or false", int: "a number"}
            self.problem(key, f"must be {expected.get(kind, 'another value')}")  # type: ignore[arg-type]
            return default
        return value


def adapter_steps(
    config: Mapping[str, Any], endpoint_type: EndpointType
) -> tuple[AdapterSteps, list[tuple[str, Problem]]]:
    """Convert an `adapter_config`.

    Args:
        config: as the spec has it.
        endpoint_type: of the task.

    Returns:
        The steps; and the problems (unknown, unsupported and contradictory keys) by the key that they concern.
    """
    builder = _Builder()
    interceptors = config.get("interceptors") or []
    for key in config:
        if key != "interceptors":
            _check_key(builder, config, str(key), has_interceptors=bool(interceptors))
    if interceptors:
        _read_interceptors(builder, interceptors)
    else:
        _read_flat(builder, config)
    if "system_prompt" in builder.steps and endpoint_type not in _CHAT:
        hint = f"the task uses the {endpoint_type} route, which has no messages"
        builder.problem("custom_system_prompt", "needs a chat endpoint", hint)
    if builder.steps and endpoint_type is EndpointType.EMBEDDING:
        builder.problem(next(iter(builder.steps)), "has no effect on the embedding route, which is passed through")
    elif "reasoning" in builder.steps and endpoint_type not in _TEXT:
        builder.problem("use_reasoning", f"has no effect on the {endpoint_type} route, which returns no text")
    steps = AdapterSteps(steps=builder.steps, log=builder.log, client_errors=builder.client_errors)
    return steps, [
        (key, Problem(f"adapter_config.{key} {message}", hint=hint)) for key, message, hint in builder.problems
    ]


def _check_key(builder: _Builder, config: Mapping[str, Any], key: str, *, has_interceptors: bool) -> None:
    """Report a key that is unknown, that is not supported, or that has no effect.

    Args:
        builder: collects the problem.
        config: the configuration.
        key: of the configuration.
        has_interceptors: whether a list of interceptors replaces the flat keys.
    """
    if key in _COVERED:
        return
    if key in _UNSUPPORTED:
        if config[key]:
            builder.problem(key, "is supported in nemo containers only", "run the task with harness nemo, or remove it")
    elif key not in _STEPS:
        similar = difflib.get_close_matches(key, _STEPS | _COVERED, n=1)
        hint = f"did you mean {similar[0]}?" if similar else "docs/gateway.md lists the keys"
        builder.problem(key, "is unknown", hint)
    elif has_interceptors:
        builder.problem(key, "has no effect with interceptors", "add it to the list of interceptors")


def _read_flat(builder: _Builder, config: Mapping[str, Any]) -> None:
    def flag(key: str) -> bool:
        return bool(builder.value(config, key, bool, default=False))

    prompt = builder.value(config, "custom_system_prompt", str)
    if flag("use_system_prompt"):
        if prompt is None:
            builder.problem("use_system_prompt", "needs custom_system_prompt")
        else:
            builder.steps["system_prompt"] = prompt
    elif prompt is not None and config.get("use_system_prompt") is None:
        builder.problem("custom_system_prompt", "has no effect without use_system_prompt: true")
    _read_parameters(builder, config)
    if flag("use_reasoning") or flag("process_reasoning_traces"):
        _read_reasoning(builder, config, "include_if_reasoning_not_finished")
    for kind, key in (("requests", "use_request_logging"), ("responses", "use_response_logging")):
        if flag(key):
            builder.log[kind] = builder.value(config, f"max_logged_{kind}", int)
    if flag("log_failed_requests"):
        builder.log["failed"] = True
    if flag("use_raise_client_errors"):
        builder.client_errors.update(_CLIENT_ERRORS)


def _read_parameters(builder: _Builder, config: Mapping[str, Any]) -> None:
    for key, kind in (("params_to_add", dict), ("params_to_remove", list), ("params_to_rename", dict)):
        value = builder.value(config, key, kind)
        if value:
            builder.steps[key] = value
    renamed = builder.steps.get("params_to_rename", {})
    if not all(isinstance(name, str) for name in (*builder.steps.get("params_to_remove", ()), *renamed.values())):
        builder.problem("params_to_remove", "and params_to_rename must contain names of parameters")


def _read_reasoning(builder: _Builder, config: Mapping[str, Any], unfinished_key: str) -> None:
    """Read the settings of the removal of reasoning.

    Args:
        builder: receives the step.
        config: the settings.
        unfinished_key: name of the setting that keeps an unfinished reasoning.
    """
    step = {
        "start": builder.value(config, "start_reasoning_token", str, default="<think>"),
        "end": builder.value(config, "end_reasoning_token", str, default="</think>"),
        "keep_unfinished": builder.value(config, unfinished_key, bool, default=True),
    }
    if not step["start"] or not step["end"]:
        builder.problem("end_reasoning_token", "and start_reasoning_token must not be empty")
    builder.steps["reasoning"] = step


def _read_interceptors(builder: _Builder, interceptors: Any) -> None:  # noqa: ANN401 - YAML
    if not isinstance(interceptors, list):
        builder.problem("interceptors", "must be a list")
        return
    seen = set()
    for item in interceptors:
        entry = {"name": item} if isinstance(item, str) else item
        name = entry.get("name") if isinstance(entry, dict) else None
        config = (entry.get("config") or {}) if isinstance(entry, dict) else {}
        if not isinstance(name, str) or not isinstance(config, dict):
            builder.problem("interceptors", "must contain names, or mappings with name and config")
        elif entry.get("enabled", True) and name not in _COVERED_INTERCEPTORS:
            if name not in _INTERCEPTORS:
                similar = difflib.get_close_matches(name, _INTERCEPTORS, n=1)
                hint = f"did you mean {similar[0]}?" if similar else f"supported: {', '.join(_INTERCEPTORS)}"
                builder.problem("interceptors", f"contains {name}, which the gateway does not have", hint)
            elif name in seen:
                builder.problem("interceptors", f"contains {name} twice", "merge the two entries")
            else:
                _INTERCEPTORS[name](builder, config)
            seen.add(name)


def _system_message(builder: _Builder, config: Mapping[str, Any]) -> None:
    strategy = builder.value(config, "strategy", str, default="prepend")
    if strategy not in {"prepend", "replace", "append"}:
        builder.problem(
            "interceptors", f"contains system_message with strategy {strategy!r}", "prepend, replace, append"
        )
    prompt = builder.value(config, "system_message", str)
    if prompt is None:
        builder.problem("interceptors", "contains system_message without its text", "add config.system_message")
        return
    builder.steps |= {"system_prompt": prompt, "system_prompt_strategy": strategy}


def _drop_params(builder: _Builder, config: Mapping[str, Any]) -> None:
    removed = builder.steps.get("params_to_remove", [])
    builder.steps["params_to_remove"] = [*removed, *builder.value(config, "params", list, default=[])]


def _payload_modifier(builder: _Builder, config: Mapping[str, Any]) -> None:
    headers = [name for name in ("headers_to_add", "headers_to_remove", "headers_to_rename") if config.get(name)]
    if headers:
        builder.problem("interceptors", f"contains payload_modifier with {headers[0]}, which the gateway does not have")
    removed = builder.steps.get("params_to_remove", [])
    _read_parameters(builder, config)
    if removed:
        builder.steps["params_to_remove"] = [*removed, *(config.get("params_to_remove") or ())]


def _reasoning(builder: _Builder, config: Mapping[str, Any]) -> None:
    if builder.value(config, "add_reasoning", bool, default=True):
        _read_reasoning(builder, config, "include_if_not_finished")


def _raise_client_errors(builder: _Builder, config: Mapping[str, Any]) -> None:
    builder.client_errors |= {
        "first": builder.value(config, "status_code_range_start", int, default=400),
        "last": builder.value(config, "status_code_range_end", int, default=499),
        "except": builder.value(config, "exclude_status_codes", list, default=[408, 429]),
        "statuses": builder.value(config, "status_codes", list, default=[]),
    }


def _request_logging(builder: _Builder, config: Mapping[str, Any]) -> None:
    builder.log["requests"] = builder.value(config, "max_requests", int)


def _response_logging(builder: _Builder, config: Mapping[str, Any]) -> None:
    builder.log["responses"] = builder.value(config, "max_responses", int)


_INTERCEPTORS: Final[Mapping[str, Callable[[_Builder, Mapping[str, Any]], None]]] = {
    "system_message": _system_message,
    "payload_modifier": _payload_modifier,
    "drop_params": _drop_params,
    "reasoning": _reasoning,
    "raise_client_errors": _raise_client_errors,
    "request_logging": _request_logging,
    "response_logging": _response_logging,
}
