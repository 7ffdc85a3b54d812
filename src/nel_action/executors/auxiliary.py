"""Further servers, such as a judge: what a harness is told of them, in variables and in its own settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from nel_action.model.task import HarnessTask
from nel_action.spec.deployment import ServedDeployment

__all__ = ["facts", "prefix_of", "refer", "refer_in_task", "references"]


def prefix_of(name: str, deployment: ServedDeployment) -> str:
    """Return the beginning of the variables that tell of a server (`JUDGE`)."""
    return str(getattr(deployment, "env_prefix", None) or name.upper())


def facts(deployment: ServedDeployment, prefix: str, base: str) -> dict[str, str]:
    """Return the variables that say where a server is and what it serves (`JUDGE_CHAT_URL`, `JUDGE_MODEL_ID`).

    Args:
        deployment: the server.
        prefix: beginning of the names.
        base: where clients find it (`http://host:8000`).
    """
    routes = deployment.endpoints.model_dump(exclude={"health"}, exclude_none=True)
    urls = {f"{prefix}_{name.upper()}_URL": f"{base}{path}" for name, path in routes.items()}
    return urls | {f"{prefix}_MODEL_ID": deployment.served_model_name or ""}


def references(name: str, prefix: str, known: Mapping[str, str]) -> dict[str, str]:
    """Return what a spec may write in place of those variables (`auxiliary_deployments.judge.chat_url`)."""
    short = {fact.removeprefix(f"{prefix}_").lower(): value for fact, value in known.items()}
    return {f"auxiliary_deployments.{name}.{fact}": value for fact, value in short.items()}


def refer_in_task(task: HarnessTask, known: Mapping[str, str]) -> HarnessTask:
    """Fill references into what the spec passes on to the harness."""
    if not known:
        return task
    params = replace(task.params, extra=refer(task.params.extra, known))
    command = refer(task.command, known) if task.command else None
    return replace(task, params=params, config=refer(task.config, known), command=command)


def refer(value: Any, known: Mapping[str, str]) -> Any:  # noqa: ANN401 whatever YAML can hold
    """Replace references in every text of a value."""
    if isinstance(value, str):
        for reference, text in known.items():
            value = value.replace(reference, text)
        return value
    if isinstance(value, Mapping):
        return {name: refer(one, known) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(refer(one, known) for one in value)
    return value
