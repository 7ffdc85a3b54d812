"""Plans and sessions without a spec file."""

from __future__ import annotations

from pathlib import Path

from nel_action.executors.interface import Executor
from nel_action.ledger import Ledger
from nel_action.lifecycle.invocation import Invocation, create
from nel_action.lifecycle.session import Session
from nel_action.planning.jobs import Context, Plan
from nel_action.planning.planner import make_plan
from nel_action.spec.evaluation import Evaluation, Task
from nel_action.spec.execution import LocalExecution
from nel_action.spec.model import Spec
from nel_action.spec.target import ApiEndpoint, Target

COMMIT = "c" * 40


def make_spec(*names: str, **parts: object) -> Spec:
    """Return a spec with tasks of the `command` harness."""
    tasks = tuple(Task(name=name, harness="command", command=("true",)) for name in names or ("alpha", "beta"))
    target = Target(api_endpoint=ApiEndpoint(url="http://127.0.0.1:9/v1/chat/completions", model_id="tiny"))
    defaults: dict[str, object] = {
        "target": target,
        "evaluation": Evaluation(tasks=tasks),
        "execution": LocalExecution(runtime="process"),
    }
    return Spec.model_validate(defaults | parts)


def make_test_plan(*names: str, commit: str | None = COMMIT, base_dir: Path = Path()) -> Plan:
    """Return the plan of such a spec."""
    return make_plan(make_spec(*names), Context(repository="o/r", commit=commit), base_dir=base_dir)


def new_invocation(plan: Plan, folder: Path) -> Invocation:
    """Create the run directory of a plan."""
    return create(
        plan,
        source=folder / "spec.yaml",
        base_dir=folder,
        resolved={"evaluation": {}},
        digest="d" * 64,
        output_dir=folder / "runs",
    )


def new_session(plan: Plan, executor: Executor, folder: Path) -> Session:
    """Create an invocation of a plan, with a ledger in the folder."""
    ledger = Ledger(folder / "home")
    invocation = new_invocation(plan, folder)
    ledger.add(invocation.row())
    return Session(invocation, executor, ledger)


def reopened(session: Session, executor: Executor) -> Session:
    """Open the session as another process does: from its files alone."""
    from nel_action.lifecycle.invocation import open_invocation

    ledger = Ledger(session.ledger.path.parent)
    return Session(open_invocation(session.invocation.id, ledger), executor, ledger)
