"""Configuration of the proxy: one JSON file, written by the executor or by hand."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field, fields
from typing import Any

from nel_action.gateway.spending import BUDGETS, PRICES, cost_of

__all__ = ["Config", "ConfigError", "load_config"]


class ConfigError(Exception):
    """The configuration is wrong; the message names the key and the value."""


@dataclass(frozen=True)
class Config:
    """All settings of one proxy. Durations are in seconds."""

    upstream: str = ""
    """URL of the endpoint's route, as the spec has it."""
    upstream_name: str = "target"
    """Name of the endpoint in request keys."""
    api_key_name: str = ""
    """Name of the variable with the endpoint's key in this process's environment; none is sent if empty."""
    token_name: str = ""
    """Name of the variable with the token that clients must send as their API key; none is asked if empty."""
    ca_file: str = ""
    """Certificates to trust for the endpoint."""
    record: str = ""
    """Directory of the record; nothing is recorded if empty."""
    replay: bool = True
    """Whether answers of earlier passes are replayed."""
    store: str = "all"
    """`all` stores requests and answers, `answers` no request bodies."""
    max_age: float = 0.0
    """Answers older than this are not replayed; 0 for no limit."""
    ask_again: tuple[str, ...] = ()
    """Flags of answers that are not replayed."""
    scope: str = ""
    """Slice of a sequential run."""
    readiness: dict[str, Any] = field(default_factory=dict)
    """Request of one token, repeated until the endpoint answers, see `readiness`; empty for no wait."""
    request_timeout: float = 600.0
    """For each try."""
    max_retries: int = 5
    """Tries after the first."""
    max_concurrency: int = 0
    """Requests to the endpoint at once; 0 for no limit."""
    requests_per_minute: float = 0.0
    """Tries included; 0 for no limit."""
    tokens_per_minute: float = 0.0
    """Of prompts and answers; 0 for no limit."""
    budget: dict[str, float] = field(default_factory=dict)
    """`requests`, `tokens` and `cost` (US dollars) that this invocation may pay for."""
    prices: dict[str, float] = field(default_factory=dict)
    """`input`, `output` and `cached_input` in US dollars per million tokens; a missing one is unknown."""
    adapter: dict[str, Any] = field(default_factory=dict)
    """Changes of requests and answers, see `adapter`."""
    client_errors: dict[str, Any] = field(default_factory=dict)
    """Statuses of the endpoint that end the pass: `statuses` (list), or `first` and `last` without `except`."""
    log: dict[str, Any] = field(default_factory=dict)
    """Logs of requests and responses, see `exchange_log`."""
    log_directory: str = ""
    """Of these logs; none are written if empty."""
    counters: str = ""
    """File of the counters, rewritten every second; none if empty."""
    header: dict[str, str] = field(default_factory=dict)
    """`key`, `attempt` and `invocation` for the record."""


_TYPES: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "bool": (bool,),
    "float": (int, float),
    "int": (int,),
    "tuple[str, ...]": (list, tuple),
    "dict[str, str]": (dict,),
    "dict[str, float]": (dict,),
    "dict[str, Any]": (dict,),
}


def load_config(text: str) -> Config:
    """Parse and check a configuration.

    Raises:
        ConfigError: a key is unknown, or a value is not of its type or range.
    """
    try:
        values = json.loads(text)
    except ValueError as error:
        msg = f"the configuration is not JSON: {error}"
        raise ConfigError(msg) from error
    if not isinstance(values, dict):
        msg = "the configuration is not a JSON object"
        raise ConfigError(msg)
    known = {item.name: item for item in fields(Config)}
    checked: dict[str, Any] = {}
    for name, value in values.items():
        if name not in known:
            msg = "unknown key {!r}; known are {}".format(name, ", ".join(known))
            raise ConfigError(msg)
        checked[name] = _checked(name, value, str(known[name].type))
    config = Config(**checked)
    _check_values(config)
    return config


def _checked(name: str, value: Any, annotation: str) -> Any:  # noqa: ANN401 - JSON
    correct = isinstance(value, _TYPES[annotation]) and not (isinstance(value, bool) and annotation != "bool")
    if not correct:
        msg = f"{name}: {value!r} is not of type {annotation}"
        raise ConfigError(msg)
    if annotation == "tuple[str, ...]":
        return tuple(str(item) for item in value)
    if annotation == "dict[str, float]":
        return {str(key): _checked(f"{name}.{key}", item, "float") for key, item in value.items()}
    return float(value) if annotation == "float" else value


def _check_values(config: Config) -> None:
    problems = []
    if not config.upstream:
        problems.append("upstream is missing: the URL of the endpoint")
    elif "@" in config.upstream.partition("://")[2].partition("/")[0]:
        problems.append("upstream contains a user name or password; name a variable with the key in api_key_name")
    if config.store not in ("all", "answers"):
        problems.append(f"store: {config.store!r} is neither 'all' nor 'answers'")
    if config.request_timeout <= 0:
        problems.append(f"request_timeout: {config.request_timeout!r} is not a positive number")
    problems += [
        f"{name}: {getattr(config, name)!r} is negative"
        for name in ("max_retries", "max_concurrency", "max_age", "requests_per_minute", "tokens_per_minute")
        if getattr(config, name) < 0
    ]
    problems += _spending_problems(config)
    for name in ("api_key_name", "token_name"):
        variable = getattr(config, name)
        if variable and not os.environ.get(variable):
            problems.append(f"{name}: the variable {variable} is not set")
    if problems:
        raise ConfigError("; ".join(problems))


def _spending_problems(config: Config) -> list[str]:
    problems = []
    for section, known in (("budget", BUDGETS), ("prices", PRICES)):
        for name, value in getattr(config, section).items():
            if name not in known:
                problems.append("{}: unknown key {!r}; known are {}".format(section, name, ", ".join(known)))
            elif value < 0:
                problems.append(f"{section}.{name}: {value!r} is negative")
    if "cost" in config.budget and cost_of({}, config.prices) is None:
        problems.append("budget.cost needs prices.input and prices.output")
    return problems
