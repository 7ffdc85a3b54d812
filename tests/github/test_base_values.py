"""Operational keys that affect the verdict: the base's values apply in a pull request."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.doubles.github.server import GitHubDouble
from tests.github.conftest import MakeContext
from tests.github.test_escape import Repository, write

from nel_action.github.policy_source import GateSource, load_spec_from_inputs
from nel_action.spec.compose import LoadedSpec, load_spec

pytestmark = pytest.mark.slow

SLURM = {"type": "slurm", "hostname": "login.example", "output_dir": "/shared/ci", "runtime": "none"}
LOCAL = {"type": "local", "runtime": "process"}


@pytest.fixture
def repository(make_context: MakeContext, monkeypatch: pytest.MonkeyPatch) -> Repository:
    work = make_context().root
    monkeypatch.chdir(work)
    return Repository(work, make_context)


def write_spec(repository: Repository, execution: dict[str, Any], **sections: Any) -> str:  # noqa: ANN401
    spec = {
        "execution": execution,
        "target": {"api_endpoint": {"model_id": "m", "url": "http://127.0.0.1:9/v1/chat/completions"}},
        "evaluation": {"tasks": [{"name": "own", "harness": "command", "command": ["x"]} | sections.pop("task", {})]},
        "gate": {"tasks": {"own": {"min": 0.7}}},
    }
    write(repository.work / "evals/gate.yaml", yaml.safe_dump(spec | sections))
    return repository.commit()


def resolve(repository: Repository) -> tuple[GateSource, LoadedSpec]:
    """Return the source after its rules were resolved, and the spec that is run."""
    context = repository.context()
    source = GateSource(context, load_spec_from_inputs(context))
    source.resolve()
    return source, source.spec


@pytest.mark.parametrize(
    "change",
    [
        {"hostname": "mallory.example"},
        {"username": "mallory", "port": 2222},
        {"output_dir": "/shared/mallory"},
        {"bin_dir": "/shared/mallory/bin"},
        {"known_hosts": "mallory.example ssh-ed25519 AAAA"},
        {"proxy_jump": "mallory.example"},
        {"salt": "old"},
        {"sbatch_extra_flags": {"export": "ALL,PYTHONPATH=/shared/mallory"}},
    ],
    ids=lambda change: next(iter(change)),
)
def test_change_cannot_measure_elsewhere_or_find_other_results(repository: Repository, change: dict[str, Any]) -> None:
    repository.base = write_spec(repository, SLURM)
    expected = load_spec(repository.work / "evals/gate.yaml").spec.execution
    write_spec(repository, SLURM | change)
    source, loaded = resolve(repository)
    assert loaded.spec.execution == expected
    notes = [note for note in source.resolve().notes if "was applied" in note]
    assert [name for name in change if not any(note.startswith(f"execution.{name}") for note in notes)] == []


@pytest.mark.parametrize(("base", "head"), [(SLURM, LOCAL), (LOCAL, SLURM)], ids=["slurm", "local"])
def test_executor_is_that_of_the_base(repository: Repository, base: dict[str, Any], head: dict[str, Any]) -> None:
    repository.base = write_spec(repository, base)
    expected = load_spec(repository.work / "evals/gate.yaml").spec.execution
    write_spec(repository, head)
    assert resolve(repository)[1].spec.execution == expected


def test_gateway_that_observes_the_answers_is_that_of_the_base(repository: Repository) -> None:
    repository.base = write_spec(repository, LOCAL)
    expected = load_spec(repository.work / "evals/gate.yaml").spec
    write_spec(repository, LOCAL, gateway=False, task={"gateway": False})
    loaded = resolve(repository)[1]
    assert loaded.spec.gateway == expected.gateway
    assert loaded.spec.evaluation.tasks[0].gateway == expected.evaluation.tasks[0].gateway


def test_prices_and_budgets_are_those_of_the_base(repository: Repository, tmp_path: Path) -> None:
    prices = {"m": {"input": 1.0, "output": 2.0}}
    repository.base = write_spec(repository, LOCAL, prices=prices, budget={"cost": 1.0}, task={"budget": {"tokens": 9}})
    expected = load_spec(repository.work / "evals/gate.yaml").spec
    free = {"m": {"input": 0.0, "output": 0.0}}
    write_spec(repository, LOCAL, prices=free, budget={"cost": 99.0}, task={"budget": {"tokens": 9000}})
    source, loaded = resolve(repository)
    assert (loaded.spec.prices, loaded.spec.budget) == (expected.prices, expected.budget)
    assert loaded.spec.evaluation.tasks[0].budget == expected.evaluation.tasks[0].budget
    (tmp_path / "spec.yaml").write_text(json.dumps(loaded.resolved))
    assert load_spec(tmp_path / "spec.yaml").spec == loaded.spec
    notes = [note for note in source.resolve().notes if "was applied" in note]
    assert {note.split(":")[0] for note in notes} == {
        "prices.m.input", "prices.m.output", "budget.cost", "evaluation.tasks.own.budget.tokens",
    }  # fmt: skip


def test_written_spec_is_the_one_that_is_run(repository: Repository, tmp_path: Path) -> None:
    repository.base = write_spec(repository, SLURM)
    write_spec(repository, SLURM | {"hostname": "mallory.example", "partition": "gpu"}, gateway=False)
    loaded = resolve(repository)[1]
    assert loaded.spec.execution.model_dump()["partition"] == "gpu", "other operational keys are those of the change"
    (tmp_path / "spec.yaml").write_text(json.dumps(loaded.resolved))
    assert load_spec(tmp_path / "spec.yaml").spec == loaded.spec


def test_equal_values_leave_the_spec_as_it_is(repository: Repository) -> None:
    repository.base = write_spec(repository, LOCAL)
    write_spec(repository, LOCAL | {"parallelism": 3})
    source, loaded = resolve(repository)
    assert loaded is source._head


def test_bases_with_different_values_are_unmeasurable(repository: Repository, hub: GitHubDouble) -> None:
    repository.base = write_spec(repository, SLURM)
    other = write_spec(repository, SLURM | {"hostname": "other.example"})
    head = write_spec(repository, SLURM)
    hub.store.add_pull(2, head=head, base=repository.base)
    hub.store.add_pull(3, head=head, base=other)["base"]["ref"] = "other"
    context = repository.context()
    rules = GateSource(context, load_spec_from_inputs(context)).resolve()
    reasons = [reason for each in rules.all for _, reason in each.blocked]
    assert len(reasons) == 1
    assert "how the jobs are run differs between main" in reasons[0]
