"""The gateway of a job: its configuration, its program, and what the harness receives instead of the target's address.

The executors place the program; these functions are what they have in common. `gateway run` starts the harness and
serves it, `gateway serve` serves a harness in a container from outside.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path, PurePosixPath
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import nel_action.gateway
from nel_action.gateway.runner import PLACEHOLDER, STOPPED
from nel_action.harnesses.interface import Command, Harness
from nel_action.model.job import JobState, JobStatus, Reason
from nel_action.model.task import HarnessTask, Progress, one_token_body
from nel_action.planning.jobs import Job
from nel_action.spec.deployment import ServedDeployment

__all__ = [
    "COUNTERS_FILE",
    "STOP_REASONS",
    "UPSTREAM_KEY",
    "HarnessKey",
    "behind_gateway",
    "config_text",
    "gateway_config",
    "gateway_url",
    "harness_key",
    "harness_timeout",
    "pack_gateway",
    "progress_with_counters",
    "with_stop_reason",
]

UPSTREAM_KEY: Final = "NEL_ACTION_UPSTREAM_KEY"
"""Variable of the gateway's process with the target's API key; the harness does not inherit it."""
COUNTERS_FILE: Final = "gateway.json"
"""File in the logs of an attempt with the counters of its last pass; `gateway.<n>.json` of earlier passes."""

STOP_REASONS: Final = {
    STOPPED["budget"]: (Reason.BUDGET, f"its share of the budget is exhausted; see logs/{COUNTERS_FILE}"),
    STOPPED["client_error"]: (Reason.ENDPOINT, f"the endpoint rejected a request; see logs/{COUNTERS_FILE}"),
}
"""Reason and detail by the exit code with which the gateway stops a harness."""

_HARNESS_RETRIES: Final = 1
"""Retries of the harness after the gateway's own ones."""
_LONGEST_PAUSE: Final = 60.0
_MARGIN: Final = 60.0
"""Seconds by which the harness waits longer than the gateway tries."""
_ZIP_TIME: Final = (1980, 1, 1, 0, 0, 0)
_MAIN: Final = "import sys\nfrom nel_action.gateway.__main__ import main\nsys.exit(main())\n"


def gateway_config(
    job: Job, *, url: str, record: str | None, counters: str, attempt: int, invocation: str
) -> dict[str, Any]:
    """Return the configuration of a job's gateway, for `nel_action.gateway.config`.

    Args:
        job: the job; its `gateway` is not None.
        url: of the model's route, as the gateway reaches it.
        record: directory of the record; None for no record.
        counters: file for the counters.
        attempt: number of the attempt.
        invocation: ID of the invocation.
    """
    settings, params, limits = job.gateway, job.task.params, job.limits
    assert settings is not None  # noqa: S101 the caller's condition
    # NOTE: the answers of a named revision or of an own server do not change; those of a service may at any time.
    fixed = job.target.revision is not None or isinstance(job.deployment, ServedDeployment)
    return {
        "upstream": url,
        "api_key_name": UPSTREAM_KEY if job.target.api_endpoint.api_key_name else "",
        "record": record or "",
        "replay": settings.replay,
        "store": settings.store,
        "max_age": 0.0 if fixed else settings.max_age,
        "readiness": _readiness(job),
        "request_timeout": params.request_timeout,
        "max_retries": params.max_retries,
        "max_concurrency": limits.max_concurrency or 0,
        "requests_per_minute": limits.requests_per_minute or 0,
        "tokens_per_minute": limits.tokens_per_minute or 0,
        "budget": dict(limits.budget),
        "prices": dict(limits.prices),
        "adapter": dict(job.adapter.steps),
        "client_errors": dict(job.adapter.client_errors),
        "log": dict(job.adapter.log),
        "log_directory": str(PurePosixPath(counters).parent) if job.adapter.log else "",
        "counters": counters,
        "header": {"key": str(job.key), "attempt": str(attempt), "invocation": invocation},
    }


def _readiness(job: Job) -> dict[str, Any]:
    """Return how long to wait for an answer of an own model server, and the request; empty for other endpoints."""
    seconds = job.limits.readiness_timeout
    body = one_token_body(job.target.api_endpoint.model_id, job.task.endpoint_type)
    return {"seconds": seconds, "body": body} if seconds else {}


def gateway_url(url: str, address: str = PLACEHOLDER) -> str:
    """Return the URL that the harness uses instead of the target's: same path and query, the gateway's address.

    Args:
        url: of the target's route.
        address: `host:port` of the gateway; by default the placeholder that `gateway run` replaces.
    """
    return urlunsplit(urlsplit(url)._replace(scheme="http", netloc=address))


def behind_gateway(job: Job) -> Job:
    """Return the job as the harness runs it: the gateway retries each request, so the harness waits longer instead."""
    params = job.task.params
    changed = replace(
        params, request_timeout=harness_timeout(job), max_retries=min(params.max_retries, _HARNESS_RETRIES)
    )
    task = replace(job.task, params=changed)
    return replace(job, task=_without_cache(task) if job.harness == "nemo" else task)


def _without_cache(task: HarnessTask) -> HarnessTask:
    """Switch off the cache of nemo-evaluator's adapter: it gives one answer to all repeats of a request."""
    target = dict(task.config.get("target") or {})
    endpoint = dict(target.get("api_endpoint") or {})
    adapter = dict(endpoint.get("adapter_config") or {})
    # NOTE: nemo-evaluator refuses the flat keys together with a list of interceptors, which caches only if it says so.
    adapter.pop("use_caching", None)
    if isinstance(adapter.get("interceptors"), list):
        adapter["interceptors"] = [_without_reuse(item) for item in adapter["interceptors"]]
    else:
        adapter["use_caching"] = False
    endpoint["adapter_config"] = adapter
    return replace(task, config={**task.config, "target": {**target, "api_endpoint": endpoint}})


def _without_reuse(interceptor: Any) -> Any:  # noqa: ANN401 - YAML
    """Return an interceptor of nemo-evaluator; the caching one stores answers, but reuses none."""
    entry: Any = {"name": interceptor} if isinstance(interceptor, str) else interceptor
    if not isinstance(entry, Mapping) or entry.get("name") != "caching":
        return interceptor
    return {**entry, "config": {**(entry.get("config") or {}), "reuse_cached_responses": False}}


def harness_timeout(job: Job) -> float:
    """Return the seconds that a harness waits for an answer: all tries of the gateway, its waits, and a margin."""
    params, limits = job.task.params, job.limits
    waits = sum(min(2.0**number, _LONGEST_PAUSE) for number in range(min(params.max_retries, 1000)))
    waits += limits.readiness_timeout or 0.0
    if limits.requests_per_minute:
        waits += (params.max_retries + 1) * params.parallelism * 60 / limits.requests_per_minute
    return (params.max_retries + 1) * params.request_timeout + waits + _MARGIN


@dataclass(frozen=True, slots=True)
class HarnessKey:
    """The environment of a job without the target's API key."""

    env: Mapping[str, str]
    """Variables of the harness; those in `tokens` are missing."""
    tokens: tuple[str, ...]
    """Variables in which the harness expects the API key, and receives a token."""
    upstream: Mapping[str, str]
    """Variables of the gateway only: the API key."""


def harness_key(job: Job, command: Command, env: Mapping[str, str]) -> HarnessKey:
    """Separate the target's API key from the environment of a harness.

    Args:
        job: the job.
        command: the harness's command, which may read the key under other names.
        env: all variables with their values, including the key under its own name.
    """
    name = job.target.api_endpoint.api_key_name
    if not name:
        return HarnessKey(env, (), {})
    tokens = tuple(dict.fromkeys([name, *(alias for alias, source in command.secret_env.items() if source == name)]))
    return HarnessKey(
        env={variable: value for variable, value in env.items() if variable not in tokens},
        tokens=tokens,
        upstream={UPSTREAM_KEY: env[name]},
    )


def with_stop_reason(status: JobStatus, job: Job) -> JobStatus:
    """Return the status of a failed job with the gateway's reason, if it stopped the harness by the exit code."""
    reason = STOP_REASONS.get(status.exit_code or 0) if job.gateway is not None else None
    if reason is None or status.state is not JobState.FAILED or status.reason is not Reason.HARNESS:
        return status
    return replace(status, reason=reason[0], detail=reason[1])


def progress_with_counters(harness: Harness, progress: Progress | None, counters: Path) -> Progress | None:
    """Return the progress of a running harness, completed by the counters of its gateway.

    The rate is that of answers which the endpoint gave, since replayed ones come at once.

    Args:
        harness: the harness.
        progress: as the harness reports it; None if it does not.
        counters: the file with the counters, which need not exist.
    """
    try:
        values = json.loads(counters.read_bytes())
        delivered, paid = int(values["delivered"]), int(values["paid"])
        elapsed = float(values["updated"]) - float(values["started"])
    except (OSError, ValueError, KeyError, TypeError):
        return progress
    if progress is None:
        return Progress(delivered) if delivered else None
    if not harness.counts_requests or progress.total is None:
        return progress
    done = min(max(delivered, progress.done), progress.total)
    left = (progress.total - done) * elapsed / paid if paid and elapsed > 0 else None
    return Progress(done, progress.total, left)


@cache
def pack_gateway() -> bytes:
    """Return the gateway as a zipapp that any Python from 3.8 runs; equal for equal sources, and packed once."""
    source = Path(nel_action.gateway.__file__).parent
    files = {f"nel_action/gateway/{path.name}": path.read_bytes() for path in sorted(source.glob("*.py"))}
    files = {"__main__.py": _MAIN.encode(), "nel_action/__init__.py": b""} | files
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name, _ZIP_TIME)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.create_system, info.external_attr = 3, 0o644 << 16
            archive.writestr(info, data, compresslevel=9)
    return buffer.getvalue()


def config_text(config: Mapping[str, Any]) -> str:
    """Serialise a configuration."""
    return json.dumps(config, indent=2) + "\n"
