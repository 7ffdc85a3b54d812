"""Jobs and their keys.

A job's key is a digest of what decides its result, so that any machine can compute it again and find the job
under that name, whatever happened to our record of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nel_action.model.env_ref import EnvRef
from nel_action.model.job import Key
from nel_action.model.task import HarnessTask
from nel_action.spec.auxiliary import AuxiliaryDeployment
from nel_action.spec.deployment import Deployment
from nel_action.spec.model import Spec
from nel_action.spec.target import Target

__all__ = ["Context", "Job", "Plan"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Context:
    """What a plan depends on besides the spec."""

    repository: str | None = None
    """`owner/name`, or what the checkout's remote says."""
    commit: str | None = None
    """The commit whose model is under test."""
    salt: str = ""
    """Another salt, another key: everything is run again."""
    digests: Mapping[str, str] = field(default_factory=dict)
    """Image reference → digest, as far as the executor could resolve them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """One task on one model: everything an executor needs to run it, and nothing secret."""

    key: Key
    pinned: bool
    """Whether a commit, a revision or a salt says which model this is; only then may a finished attempt be reused."""
    index: int
    """Its place in the plan; the job's id is `<invocation>.<index>`."""
    name: str
    """Unique in the plan and fit for a directory: the task's name, with the model's where there are several."""
    task: HarnessTask
    harness: str
    model: str
    """What reports call the model: its `model_id`, or its short name where a spec has several targets."""
    target: Target
    """With `model_id` and `type` filled in; `url` is None where a deployment serves the model."""
    deployment: Deployment
    auxiliary: Mapping[str, AuxiliaryDeployment] = field(default_factory=dict)
    """Further servers that the task needs, such as a judge, by name."""
    image: str | None = None
    """Reference of the harness's image; None where it runs in an environment."""
    image_digest: str | None = None
    requirements: str | None = None
    """Path of the hashed requirements of its environment, where it runs in one."""
    env: Mapping[str, EnvRef] = field(default_factory=dict)
    """Variable → reference to its value, that of the API key included."""
    timeout: float = 6 * 3600
    """Seconds."""
    dataset: tuple[str, str] | None = None
    """Folder on this machine and where it is mounted."""
    pre_cmd: str | None = None
    """Shell text before the harness; only where the spec trusts it."""
    post_cmd: str | None = None
    """Shell text after the harness; only where the spec trusts it."""
    repeats: int | None = None
    """Index of the job that this one does once more, with another seed, before a change is blamed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All jobs of one invocation."""

    spec: Spec
    context: Context
    jobs: tuple[Job, ...]
