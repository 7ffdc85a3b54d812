"""Scripted evaluations: the same spec, backend and exporter for every way to run an evaluation."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.doubles.executor import MemoryExecutor

from nel_action.driver.events import Created, Event, Exported, Extended, Judged, Left, Polled, Submitted
from nel_action.errors import NelActionError, Problem, UnreachableError
from nel_action.exporters.bundle import Bundle
from nel_action.exporters.interface import Change, CommonSettings, ExportOutcome, MissingExtraError
from nel_action.exporters.interface import Exported as ExportedItem
from nel_action.model.job import Attempt, JobStatus, Key
from nel_action.planning.jobs import Job

__all__ = ["EventLog", "Scenario", "ScriptedExecutor", "ScriptedExporter", "install", "normalize", "write_spec"]

SEED = 1234
ITEMS = 400


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """What the spec says and how the backend and the exporter behave."""

    scores: Mapping[int, float | None] = field(default_factory=lambda: {SEED: 0.8})
    """Seed → score of the task `alpha`; None: the job succeeds without result files."""
    gate: Mapping[str, Any] = field(default_factory=lambda: {"tasks": {"alpha": {"min": 0.5}}})
    tasks: tuple[str, ...] = ("alpha",)
    rejected: tuple[str, ...] = ()
    """Names of the jobs that the backend rejects."""
    never_ends: bool = False
    cancel_at_first_poll: bool = False
    """Whether this process gets SIGTERM while its first poll is under way."""
    unreachable_collect: bool = False
    export: str | None = None
    """How the exporter behaves: `complete`, `incomplete` or `impossible`; None without exports."""


def write_spec(scenario: Scenario, folder: Path) -> Path:
    """Write the spec of a scenario and return its path."""
    path = folder / "evals" / "gate.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    execution: dict[str, Any] = {"type": "local", "runtime": "process", "output_dir": str(folder / "runs")}
    if scenario.export:
        execution["auto_export"] = {"destinations": ["scripted"]}
    spec: dict[str, Any] = {
        "execution": execution,
        "target": {"api_endpoint": {"model_id": "tiny", "url": "http://127.0.0.1:9/v1/chat/completions"}},
        "evaluation": {"tasks": [{"name": name, "harness": "command", "command": ["true"]} for name in scenario.tasks]},
        "gate": dict(scenario.gate),
    }
    path.write_text(yaml.safe_dump(spec, sort_keys=False))
    return path


class ScriptedExecutor(MemoryExecutor):
    """Runs the jobs of a scenario: each is running at its first poll, and has finished at the second."""

    def __init__(self, scenario: Scenario) -> None:
        super().__init__()
        self.scenario = scenario
        self.seeds: dict[Key, int] = {}
        self.polls: dict[tuple[Key, int], int] = {}

    def submit(self, job: Job, number: int, invocation: str) -> Attempt:
        if job.name in self.scenario.rejected:
            self.rejected.add(job.key)
        attempt = super().submit(job, number, invocation)
        self.seeds[job.key] = job.task.params.seed
        score = self.scenario.scores.get(job.task.params.seed, 0.8)
        self.artifacts[job.key] = {} if score is None else _result_files(score)
        return attempt

    def poll(self, attempts: Sequence[Attempt]) -> Mapping[Key, JobStatus]:
        if self.scenario.cancel_at_first_poll and not self.polls:
            os.kill(os.getpid(), signal.SIGTERM)
        for attempt in attempts:
            identity = (attempt.key, attempt.number)
            self.polls[identity] = self.polls.get(identity, 0) + 1
            if self.polls[identity] > 1 and not self.scenario.never_ends and not self.jobs[identity].state.final:
                self.finish(attempt.key)
        return super().poll(attempts)

    def collect(self, attempt: Attempt, into: Path) -> None:
        if self.scenario.unreachable_collect:
            msg = "the backend does not answer"
            raise UnreachableError(msg)
        super().collect(attempt, into)


def _result_files(value: float) -> dict[str, str]:
    right = round(ITEMS * value)
    score = {"value": right / ITEMS, "stderr": 0.02, "higher_is_better": True}
    data = {"scores": {"accuracy": score}, "n_items": ITEMS, "n_expected": ITEMS}
    samples = [{"id": str(item), "scores": {"accuracy": float(item < right)}} for item in range(ITEMS)]
    return {"scores.json": json.dumps(data), "samples.jsonl": "".join(json.dumps(line) + "\n" for line in samples)}


@dataclass
class ScriptedExporter:
    """An exporter that behaves as a scenario says."""

    behaviour: str
    name: str = "scripted"
    settings: type[CommonSettings] = CommonSettings
    sent: list[str] = field(default_factory=list)

    def check(self, settings: CommonSettings, environ: Mapping[str, str]) -> Sequence[Problem]:  # noqa: ARG002
        return []

    def export(self, bundle: Bundle, settings: CommonSettings, environ: Mapping[str, str]) -> ExportOutcome:  # noqa: ARG002
        if self.behaviour == "impossible":
            raise MissingExtraError(destination=self.name, library="scripted")
        self.sent.append(bundle.results.invocation)
        items = [ExportedItem(bundle.results.invocation, Change.CREATED, "somewhere")]
        if self.behaviour == "incomplete":
            items.append(ExportedItem("samples", Change.FAILED, None, "the disk is full"))
        return ExportOutcome(destination=self.name, items=tuple(items))


@dataclass
class EventLog:
    """The events that an entry point consumed, with their key facts."""

    entries: list[tuple[Any, ...]] = field(default_factory=list)

    def record(self, function: Callable[..., Iterator[Event]]) -> Callable[..., Iterator[Event]]:
        """Return the driver's function, which then records each event that it yields."""

        def recording(*arguments: Any, **keywords: Any) -> Iterator[Event]:  # noqa: ANN401
            try:
                for event in function(*arguments, **keywords):
                    self.entries.append(_facts(event))
                    yield event
            except NelActionError as error:
                self.entries.append(("error", type(error).__name__, int(error.exit_code)))
                raise

        return recording


def _facts(event: Event) -> tuple[Any, ...]:
    match event:
        case Created(session):
            return ("created", len(session.invocation.plan.jobs))
        case Submitted():
            return ("submitted", tuple(row.name for row in event.rejected))
        case Polled():
            return ("polled", event.settled)
        case Extended():
            return ("extended", event.reason.value, tuple(job.name for job in event.jobs))
        case Judged():
            return ("judged", event.gate.verdict.value, int(event.code))
        case Exported():
            return ("exported", event.destination, event.problems)
        case Left():
            return ("left", int(event.code))
        case _:
            return (type(event).__name__.lower(),)


def normalize(entries: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """Return the events as if one process had consumed all of them.

    Consecutive polls count as one. A process that continues an invocation repeats Submitted, and the one before it
    may have ended with Left.
    """
    merged: list[tuple[Any, ...]] = []
    for entry in entries:
        if merged and merged[-1] == ("left", 5):
            merged.pop()
        if merged and entry[0] in {"submitted", "polled"} and merged[-1][0] == entry[0]:
            previous = merged.pop()
            entry = (entry[0], previous[1] or entry[1])  # noqa: PLW2901
        merged.append(entry)
    return merged


ENTRY_POINTS: Sequence[tuple[str, str]] = (
    ("nel_action.driver.evaluation", "evaluate"),
    ("nel_action.driver.evaluation", "follow"),
    ("nel_action.api", "evaluate"),
    ("nel_action.api", "follow"),
    ("nel_action.github.evaluate", "evaluate_plan"),
    ("nel_action.github.evaluate", "follow"),
    ("nel_action.github.collect", "follow"),
    ("nel_action.github.fork_results", "judge"),
)
"""Where the functions of the driver are looked up."""


def install(scenario: Scenario, monkeypatch: pytest.MonkeyPatch) -> EventLog:
    """Put the scripted backend and exporter in place of the real ones, and record the driver's events."""
    from importlib import import_module

    executor = ScriptedExecutor(scenario)
    for module in ("nel_action.lifecycle.prepare", "nel_action.lifecycle.session"):
        monkeypatch.setattr(f"{module}.open_executor", lambda *_arguments: executor)
    monkeypatch.setattr("nel_action.lifecycle.prepare.check_endpoint", lambda *_arguments, **_keywords: None)
    exporter = ScriptedExporter(scenario.export or "complete")
    for module in ("nel_action.exporters.service", "nel_action.exporters.preflight"):
        monkeypatch.setattr(f"{module}.get_exporter", lambda _name: exporter)
    log = EventLog()
    functions = {place: getattr(import_module(place[0]), place[1]) for place in ENTRY_POINTS}
    for (module, name), function in functions.items():
        monkeypatch.setattr(f"{module}.{name}", log.record(function))
    return log
