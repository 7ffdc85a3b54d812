"""The plan and its jobs.

The key of a job is a digest of everything that determines its result. Any machine can therefore compute it again and
find the job on the backend, even if the ledger has been lost.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nel_action.model.baseline import PinnedBaseline
from nel_action.model.env_ref import EnvRef
from nel_action.model.job import Key
from nel_action.model.task import HarnessTask
from nel_action.spec.auxiliary import AuxiliaryDeployment
from nel_action.spec.deployment import Deployment
from nel_action.spec.gateway import Gateway
from nel_action.spec.model import Spec
from nel_action.spec.target import Target

__all__ = ["Context", "Job", "Plan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """The inputs of a plan in addition to the spec."""

    repository: str | None = None
    """`owner/name`."""
    commit: str | None = None
    """Commit of the model under test."""
    commit_source: str | None = None
    """Where the commit was read: the name of a variable, or the checkout and its state."""
    modified: bool = False
    """Whether the files differ from the commit, or may differ; the commit then pins nothing."""
    salt: str = ""
    """Part of every job key; another salt runs every job again."""
    nonce: str = ""
    """Part of the key of every job that nothing pins, so that no two invocations share it."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """Image reference → digest, for the images that the executor could resolve."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AdapterSteps:
    """What the gateway does to requests and answers; see `nel_action.gateway`."""

    steps: Mapping[str, Any] = field(default_factory=dict)
    """Changes of requests and answers, part of the job key."""
    log: Mapping[str, Any] = field(default_factory=dict)
    """Logs of requests and responses."""
    client_errors: Mapping[str, Any] = field(default_factory=dict)
    """Statuses of the endpoint that stop the task."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The share of a job in the rates and budgets of the spec, enforced by the gateway; None is no limit."""

    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    max_concurrency: int | None = None
    readiness_timeout: float | None = None
    """Seconds within which an own model server must answer a request for one token; None for other endpoints."""
    budget: Mapping[str, float] = field(default_factory=dict)
    """`requests`, `tokens`, `cost` in US dollars."""
    prices: Mapping[str, float] = field(default_factory=dict)
    """`input`, `output`, `cached_input` in US dollars per million tokens; empty if they are unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One task on one model: everything that an executor needs to run it, without secrets."""

    key: Key
    pinned: bool
    """Whether a commit, a revision or a salt identifies the model; otherwise no attempt is joined or reused."""
    index: int
    """Position in the plan; the job's ID is `<invocation>.<index>`."""
    name: str
    """Unique in the plan and valid as a directory name: the task's name, with the model's if there are several."""
    task: HarnessTask
    harness: str
    model: str
    """Name of the model in reports: its `model_id`, or its short name if the spec has several targets."""
    target: Target
    """With `model_id` and `type` filled in; `url` is None if a deployment serves the model."""
    deployment: Deployment
    auxiliary: Mapping[str, AuxiliaryDeployment] = field(default_factory=dict)
    """Further servers that the task uses, such as a judge, by name."""
    image: str | None = None
    """Reference of the harness's image; None if it runs in a virtual environment."""
    image_digest: str | None = None
    requirements: str | None = None
    """Path of the requirements file of the harness's virtual environment; None if it runs in an image."""
    env: Mapping[str, EnvRef] = field(default_factory=dict)
    """Variable → reference to its value, including that of the API key."""
    timeout: float = 6 * 3600
    """Seconds."""
    dataset: tuple[str, str] | None = None
    """Directory on this machine, and its mount point."""
    pre_cmd: str | None = None
    """Shell commands before the harness; only if `execution.trust_commands` is set."""
    post_cmd: str | None = None
    """Shell commands after the harness; only if `execution.trust_commands` is set."""
    gateway: Gateway | None = None
    """Settings of the proxy between the harness and the target; None for a direct connection. No part of the key."""
    adapter: AdapterSteps = AdapterSteps()
    """Steps of the gateway; none for harnesses with an adapter of their own."""
    limits: Limits = Limits()
    """Share in rates and budgets; no part of the key."""
    fingerprint: Mapping[str, str] | None = None
    """Key path or file → value or digest of everything that defines the benchmark; no part of the key. None in plans of
    older versions."""
    repeats: int | None = None
    """Index of the job that this one repeats with another seed, to confirm a failure; None for other jobs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All jobs of one invocation."""

    spec: Spec
    context: Context
    jobs: tuple[Job, ...]
    baselines: tuple[PinnedBaseline, ...] | None = None
    """The baselines of all rules, as resolved at submission. None before, and in plans of older versions."""
