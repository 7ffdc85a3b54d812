"""Every way to run an evaluation yields the same events: one table of scenarios × entry points."""

from __future__ import annotations

import io
import subprocess
import warnings
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from tests.doubles.github.server import GitHubDouble, github
from tests.support.scenarios import EventLog, Scenario, install, normalize, write_spec

import nel_action
from nel_action.api import ExportWarning, StillRunningError
from nel_action.cli.app import root
from nel_action.errors import ExitCode, NelActionError
from nel_action.github.api import GitHubApi
from nel_action.github.collect import collect
from nel_action.github.context import ActionContext
from nel_action.github.evaluate import evaluate
from nel_action.github.event import EventKind, WorkflowEvent
from nel_action.github.fork_results import judge_fork
from nel_action.github.inputs import read_inputs
from nel_action.github.outcome import Outcome, StateFile
from nel_action.github.workflow import Workflow

pytestmark = pytest.mark.slow

FORK = "mallory/Hello-World"

START: list[tuple[Any, ...]] = [("created", 1), ("submitted", ()), ("polled", True)]
PROBLEMS = {"complete": (), "incomplete": ("samples: the disk is full",)}


def ended(verdict: str, code: int, *exports: tuple[Any, ...]) -> list[tuple[Any, ...]]:
    return [("judged", verdict, code), ("reported",), *exports]


@dataclass(frozen=True)
class Expected:
    """The events of a scenario."""

    events: list[tuple[Any, ...]]
    code: int
    """Exit code of the last process."""


FLOOR_WITH_CONFIRMATION = {"tasks": {"alpha": {"min": 0.72}}, "confirm": {}}
IMPOSSIBLE = "export to scripted needs scripted, which is not installed\n  pip install 'nel-action[scripted]'"

SCENARIOS: dict[str, tuple[Scenario, Expected]] = {
    "pass": (Scenario(), Expected(START + ended("pass", 0), 0)),
    "fail": (Scenario(scores={1234: 0.2}), Expected(START + ended("fail", 1), 1)),
    "inconclusive": (Scenario(scores={1234: 0.5}), Expected(START + ended("inconclusive", 4), 4)),
    "unmeasurable": (Scenario(scores={1234: None}), Expected(START + ended("unmeasurable", 3), 3)),
    "rejected": (
        Scenario(tasks=("alpha", "beta"), rejected=("beta",)),
        Expected([("created", 2), ("submitted", ("beta",)), ("polled", True), *ended("unmeasurable", 3)], 3),
    ),
    "confirmation": (
        Scenario(scores={1234: 0.6, 1235: 0.95}, gate=FLOOR_WITH_CONFIRMATION),
        Expected(
            [*START, ("extended", "confirmation", ("alpha.again",)), ("polled", True), *ended("pass", 0)],
            0,
        ),
    ),
    "export": (Scenario(export="complete"), Expected(START + ended("pass", 0, ("exported", "scripted", ())), 0)),
    "incomplete export": (
        Scenario(export="incomplete"),
        Expected(START + ended("pass", 0, ("exported", "scripted", PROBLEMS["incomplete"])), 0),
    ),
    "impossible export": (
        Scenario(export="impossible", scores={1234: 0.2}),
        Expected(START + ended("fail", 1, ("exported", "scripted", (IMPOSSIBLE,))), 1),
    ),
    "cancelled": (
        Scenario(never_ends=True, cancel_at_first_poll=True),
        Expected([("created", 1), ("submitted", ()), ("polled", False), ("left", 130)], 130),
    ),
    "still running": (
        Scenario(never_ends=True),
        Expected([("created", 1), ("submitted", ()), ("polled", False), ("left", 5)], 5),
    ),
    "error in collect": (
        Scenario(unreachable_collect=True),
        Expected([*START, ("error", "UnreachableError", 3)], 3),
    ),
}


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=t", "-c", "user.email=t@example.invalid"]
    argv = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


@dataclass
class Machine:
    """A checkout, a home and a GitHub on which entry points run in this process."""

    folder: Path
    scenario: Scenario
    hub: GitHubDouble
    api: GitHubApi
    log: EventLog
    head: str
    """The commit under test."""

    def command(self, *arguments: str) -> int:
        """Run the command line; return its exit code."""
        try:
            return int(root.main(list(arguments), standalone_mode=False))
        except NelActionError as error:
            return int(error.exit_code)

    @property
    def invocation(self) -> str:
        (run_dir,) = (self.folder / "runs").iterdir()
        return run_dir.name.rsplit("-", 1)[1]

    @property
    def max_wait(self) -> list[str]:
        return ["--max-wait", "0"] if self.scenario.never_ends and not self.scenario.cancel_at_first_poll else []

    def action(self, *, event: WorkflowEvent | None = None, **inputs: str) -> ActionContext:
        """Return the context of one step of a workflow; each has its own temporary directory."""
        temporary = self.folder / f"temp-{len(list(self.folder.glob('temp-*')))}"
        temporary.mkdir()
        inputs = {"spec": "evals/gate.yaml", "max_wait": "1"} | inputs
        environ = {
            "GITHUB_ACTIONS": "true",
            "RUNNER_TEMP": str(temporary),
            "GITHUB_OUTPUT": str(temporary / "outputs"),
            "GITHUB_STEP_SUMMARY": str(temporary / "summary"),
            **{f"INPUT_{name.upper()}": value for name, value in inputs.items()},
        }
        parsed = read_inputs(environ, spec_needed=False)
        return ActionContext(
            environ=environ,
            event=event or self.event(),
            inputs=parsed,
            workflow=Workflow(environ, io.StringIO()),
            api=self.api,
            home=self.folder / "home",
            root=self.folder,
            state=StateFile(environ, parsed.check_name or "off"),
        )

    def event(self, **changes: Any) -> WorkflowEvent:  # noqa: ANN401
        event = WorkflowEvent(
            kind=EventKind.PUSH,
            repository=self.hub.store.repository,
            head_sha=self.head,
            ref="refs/heads/main",
            default_branch="main",
            payload={"sha": self.head},
            api_url=self.hub.url,
            graphql_url=f"{self.hub.url}/graphql",
        )
        return replace(event, **changes)


@pytest.fixture
def machine(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[tuple[Machine, Expected]]:
    scenario, expected = SCENARIOS[request.param]
    write_spec(scenario, tmp_path)
    git(tmp_path, "init", "-q", "-b", "main")
    git(tmp_path, "add", "evals")
    git(tmp_path, "commit", "-q", "-m", "base")
    head = git(tmp_path, "rev-parse", "HEAD")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NEL_ACTION_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NEL_ACTION_COMMIT", head)
    log = install(scenario, monkeypatch)
    with github() as hub:
        api = GitHubApi(hub.url, hub.token)
        yield Machine(tmp_path, scenario, hub, api, log, head), expected
        api.close()


def run_and_wait_in_one_command(machine: Machine) -> int:
    return machine.command("run", "evals/gate.yaml", "--skip-endpoint-check", "--wait", *machine.max_wait)


def run_then_wait(machine: Machine) -> int:
    assert machine.command("run", "evals/gate.yaml", "--skip-endpoint-check") == 5
    return machine.command("wait", machine.invocation, *machine.max_wait)


def run_then_resume(machine: Machine) -> int:
    assert machine.command("run", "evals/gate.yaml", "--skip-endpoint-check") == 5
    return machine.command("resume", machine.invocation, *(machine.max_wait or ["--wait"]))


def library(machine: Machine) -> int:
    spec = nel_action.load_spec(machine.folder / "evals" / "gate.yaml")
    invocation = nel_action.run(spec, check_endpoint=False)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            report = nel_action.wait(invocation, timeout=0 if machine.scenario.never_ends else 60)
    except StillRunningError:
        return 5
    except NelActionError as error:
        return int(error.exit_code)
    messages = [str(warning.message) for warning in caught if issubclass(warning.category, ExportWarning)]
    problems = [problem for entry in machine.log.entries if entry[0] == "exported" for problem in entry[2]]
    assert messages == [f"export to scripted: {problem}" for problem in problems]
    return report.gate.exit_code


def action_run(machine: Machine) -> int:
    return checked(machine, evaluate(machine.action(mode="run")))


def action_submit_then_collect(machine: Machine) -> int:
    assert evaluate(machine.action(mode="submit")).state == "running"
    outcome = collect(machine.action(mode="collect", event=machine.event(kind=EventKind.SCHEDULE)))
    return checked(machine, outcome)


def checked(machine: Machine, outcome: Outcome) -> int:
    """Return the outcome's exit code; the check on the commit must agree with it."""
    (check,) = machine.hub.store.checks_of(machine.head)
    conclusions = {0: "success", 4: "success", 5: None, 130: None}
    assert check["conclusion"] == conclusions.get(outcome.code, "failure")
    return outcome.code


Run = Callable[[Machine], int]
RUNS: dict[str, Run] = {
    "run --wait": run_and_wait_in_one_command,
    "run, wait": run_then_wait,
    "run, resume": run_then_resume,
    "library": library,
    "action run": action_run,
    "action submit, collect": action_submit_then_collect,
}
NOT_APPLICABLE = {
    ("cancelled", "library"),  # a library leaves signals to its caller
    ("cancelled", "action submit, collect"),  # neither step waits
    ("confirmation", "action submit, collect"),  # see below
    ("error in collect", "action submit, collect"),  # see below
}
CASES = [(scenario, run) for scenario in SCENARIOS for run in RUNS if (scenario, run) not in NOT_APPLICABLE]


@pytest.mark.parametrize(("machine", "run"), CASES, indirect=["machine"])
def test_entry_points_agree(machine: tuple[Machine, Expected], run: str) -> None:
    environment, expected = machine
    code = RUNS[run](environment)
    assert normalize(environment.log.entries) == expected.events
    assert code == expected.code


@pytest.mark.parametrize("machine", ["confirmation"], indirect=True)
def test_collect_submits_no_confirmation_runs(machine: tuple[Machine, Expected]) -> None:
    environment, _ = machine
    assert action_submit_then_collect(environment) == 1
    assert normalize(environment.log.entries) == START + ended("fail", 1)


@pytest.mark.parametrize("machine", ["error in collect"], indirect=True)
def test_collect_leaves_a_check_open_while_the_backend_is_unreachable(machine: tuple[Machine, Expected]) -> None:
    environment, expected = machine
    assert action_submit_then_collect(environment) == 5
    assert normalize(environment.log.entries) == expected.events


FORK_SCENARIOS = [
    "pass",
    "fail",
    "inconclusive",
    "unmeasurable",
    "rejected",
    "export",
    "incomplete export",
    "impossible export",
]


@pytest.mark.parametrize("machine", FORK_SCENARIOS, indirect=True)
def test_the_stage_for_forks_agrees_from_the_verdict_on(machine: tuple[Machine, Expected]) -> None:
    environment, expected = machine
    run_and_wait_in_one_command(environment)
    environment.log.entries.clear()
    (run_dir,) = (environment.folder / "runs").iterdir()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as artifact:
        for path in (run_dir / "results.json", *(run_dir / "samples").glob("*")):
            artifact.write(path, path.relative_to(run_dir))
    store = environment.hub.store
    store.add_pull(7, head=environment.head, base=environment.head, head_repository=FORK)
    exporters = "scripted" if environment.scenario.export else ""
    event = environment.event(
        kind=EventKind.WORKFLOW_RUN, head_ref="change", head_repository=FORK, fork=True, event_run_id=42
    )
    context = environment.action(mode="collect", exporters=exporters, event=event)
    store.add_artifact(42, context.artifact_name, archive.getvalue())
    outcome = judge_fork(context)
    judged = next(index for index, entry in enumerate(expected.events) if entry[0] == "judged")
    assert environment.log.entries == expected.events[judged:]
    # NOTE: what a fork measured is its own claim, so a pass asks for a maintainer.
    claimed = expected.code == ExitCode.PASS
    assert outcome.code == (ExitCode.UNMEASURABLE if claimed else expected.code)
    (check,) = store.checks_of(environment.head)
    assert check["conclusion"] == ("action_required" if claimed else "failure")
