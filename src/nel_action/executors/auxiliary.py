"""Auxiliary model servers, such as a judge: how a harness learns their URLs and model names."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nel_action.model.task import HarnessTask
from nel_action.spec.deployment import ServedDeployment

__all__ = ["server_variables", "spec_references", "substitute", "substitute_in_task", "variable_prefix"]


def variable_prefix(name: str, deployment: ServedDeployment) -> str:
    """Return the prefix of the variables that describe a server (`JUDGE`)."""
    return str(getattr(deployment, "env_prefix", None) or name.upper())


def server_variables(deployment: ServedDeployment, prefix: str, base_url: str) -> dict[str, str]:
    """Return the variables with a server's URLs and model (`JUDGE_CHAT_URL`, `JUDGE_MODEL_ID`).

    Args:
        deployment: the server.
        prefix: prefix of the variable names.
        base_url: address of the server as the harness sees it (`http://host:8000`).
    """
    routes = deployment.endpoints.model_dump(exclude={"health"}, exclude_none=True)
    urls = {f"{prefix}_{name.upper()}_URL": f"{base_url}{path}" for name, path in routes.items()}
    return urls | {f"{prefix}_MODEL_ID": deployment.served_model_name or ""}


def spec_references(name: str, prefix: str, variables: Mapping[str, str]) -> dict[str, str]:
    """Map the references that a spec may contain (`auxiliary_deployments.judge.chat_url`) to their values.

    Args:
        name: the server's name in the spec.
        prefix: prefix of the variable names.
        variables: result of `server_variables`.
    """
    keys = {variable.removeprefix(f"{prefix}_").lower(): value for variable, value in variables.items()}
    return {f"auxiliary_deployments.{name}.{key}": value for key, value in keys.items()}


def substitute_in_task(task: HarnessTask, references: Mapping[str, str]) -> HarnessTask:
    """Replace references in everything that the spec passes on to the harness."""
    if not references:
        return task
    params = replace(task.params, extra=substitute(task.params.extra, references))
    command = substitute(task.command, references) if task.command else None
    return replace(task, params=params, config=substitute(task.config, references), command=command)


def substitute(value: Any, references: Mapping[str, str]) -> Any:  # noqa: ANN401 any YAML value
    """Replace references in every string of a nested value."""
    if isinstance(value, str):
        for reference, text in references.items():
            value = value.replace(reference, text)
        return value
    if isinstance(value, Mapping):
        return {name: substitute(item, references) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(substitute(item, references) for item in value)
    return value
