"""The surroundings of an evaluation: everything in which command line, library and action differ."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Protocol

from nel_action.spec.model import Spec
from nel_action.spec.policy import GatePolicy

if TYPE_CHECKING:
    from nel_action.report.model import Report

__all__ = ["Artifacts", "BranchResolver", "Rules", "Surroundings", "same_rules", "unchanged"]


class Artifacts(Protocol):
    """Results that every machine can download."""

    def source_of(self, path: Path) -> str | None:
        """Return where other machines find the results in a directory; None if they were not downloaded."""

    def fetch(self, source: str) -> Path | None:
        """Download the results again; None if they do not exist any more."""


BranchResolver = Callable[[str], Path | None]
"""From the name of a branch to its latest passing run; None if there is none yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The rules of a gate: the policy and the tasks that must have results."""

    policy: GatePolicy | None
    expected: tuple[str, ...]
    """Names of the tasks that must have results."""
    folder: Path
    """Directory that relative paths in the policy start from."""
    notes: tuple[str, ...] = ()
    """Notes about the rules, shown with the verdict."""
    blocked: tuple[tuple[str, str], ...] = ()
    """Task and reason why it cannot be measured, whatever its scores are; an empty name denotes all tasks."""
    base: str | None = None
    """Branch and commit that the rules were read from; None for those of the spec itself."""
    base_sha: str | None = None
    """The commit."""
    unmeasurable: str | None = None
    """Reason why there are no rules to judge by: the scores are shown, and the gate is unmeasurable."""
    others: tuple[Rules, ...] = ()
    """Rules of further bases of the same commit; the worst verdict is that of the gate."""

    @property
    def all(self) -> tuple[Rules, ...]:
        """These rules and those of further bases."""
        return (self, *self.others)

    @classmethod
    def of_spec(cls, spec: Spec, base_dir: Path) -> Rules:
        """Return the rules that a spec itself contains."""
        expected = tuple(dict.fromkeys(task.name for task in spec.evaluation.tasks))
        return cls(policy=spec.gate, expected=expected, folder=base_dir)


def unchanged(report: Report) -> Report:
    """Return the report as it is."""
    return report


def same_rules(rules: Rules) -> Rules:
    """Return the rules as they are."""
    return rules


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """Everything in which the callers of the driver differ."""

    home: Path
    """`$NEL_ACTION_HOME`."""
    environ: Mapping[str, str] = field(repr=False)
    """Variables of this process; credentials of exports and services are read from here."""
    rules: Rules | None = None
    """The rules to judge by; None for those of the spec itself."""
    update_rules: Callable[[Rules], Rules] = same_rules
    """Returns the rules with those that apply only since the jobs were submitted; called before each judgement."""
    branches: BranchResolver | None = None
    """Resolves `gate.baseline: <branch>`; None for the runs of this machine."""
    artifacts: Artifacts | None = None
    """Finds a branch's run again on another machine; None for the runs of this machine."""
    complete: Callable[[Report], Report] = unchanged
    """Adds to a report what only the caller knows (links, trend, pull request), and removes secrets from it, before
    it is written."""
    exports: tuple[str, ...] | None = None
    """Destinations of the results; None for `execution.auto_export` of the spec."""
    may_submit: bool = True
    """Whether jobs may be submitted. Otherwise confirmation runs that are planned but not submitted are ignored."""
    may_export: bool = True
    once: bool = False
    """Whether to poll once instead of waiting."""
    deadline: float | None = None
    """When to stop waiting; on the monotonic clock, in seconds."""
    stop: Event = field(default_factory=Event)
    """Requests to stop waiting, usually set by a signal handler."""
