"""Evaluations of scripted scenarios through the driver itself."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tests.support.scenarios import Scenario, ScriptedExecutor, write_spec

from nel_action.driver.evaluation import evaluate, follow
from nel_action.driver.events import Event, Submitted
from nel_action.driver.surroundings import Surroundings
from nel_action.ledger import Ledger
from nel_action.lifecycle.invocation import open_invocation
from nel_action.lifecycle.loading import load
from nel_action.lifecycle.prepare import Prepared
from nel_action.lifecycle.provenance import discover_context
from nel_action.lifecycle.session import Session
from nel_action.planning.planner import make_plan

__all__ = ["Evaluation", "letters"]

COMMIT = "c" * 40


@dataclass
class Evaluation:
    """A spec, a backend that outlives processes, and a home directory."""

    scenario: Scenario
    folder: Path
    commit: str = COMMIT

    def __post_init__(self) -> None:
        self.executor = ScriptedExecutor(self.scenario)
        self.spec = write_spec(self.scenario, self.folder)
        self.around = Surroundings(home=self.folder / "home", environ={"NEL_ACTION_COMMIT": self.commit})

    def prepared(self) -> Prepared:
        """Plan the spec."""
        loaded = load(self.spec)
        context = discover_context(loaded.base_dir, self.around.environ)
        plan = make_plan(loaded.spec, context, base_dir=loaded.base_dir, locate=loaded.locate)
        return Prepared(loaded, plan, self.executor, self.around.environ)

    def evaluate(self, **changes: object) -> Iterator[Event]:
        """Start a new invocation; `changes` are fields of the surroundings."""
        return evaluate(self.prepared(), replace(self.around, **changes))  # type: ignore[arg-type]

    def submit(self) -> None:
        """Start a new invocation and leave after the submission, as `run` without `--wait` does."""
        with closing(evaluate(self.prepared(), self.around)) as events:
            for event in events:
                if isinstance(event, Submitted):
                    return

    def follow(self, *, retry: bool = False, **changes: object) -> Iterator[Event]:
        """Continue the invocation as another process does: from its files alone."""
        with self.session() as session:
            yield from follow(session, replace(self.around, **changes), retry=retry)  # type: ignore[arg-type]

    @contextmanager
    def session(self) -> Iterator[Session]:
        """Open the latest invocation with a ledger connection of its own."""
        with Ledger(self.around.home) as ledger:
            yield Session(open_invocation(str(self.run_dir), ledger), self.executor, ledger)

    @property
    def run_dir(self) -> Path:
        return max((self.folder / "runs").iterdir(), key=lambda path: path.stat().st_ctime_ns)


def letters(events: Iterator[Event]) -> str:
    """Return the first letter of each event's type; X for Exported and E for Extended."""
    names = {"Exported": "X"}
    return "".join(names.get(type(event).__name__, type(event).__name__[0]) for event in events)
