from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.doubles.executor import MemoryExecutor

from nel_action.driver.preflight import check_plan, check_spec
from nel_action.driver.surroundings import Rules, Surroundings
from nel_action.errors import NotFoundError, SecretError, SpecError
from nel_action.lifecycle.loading import load
from nel_action.lifecycle.prepare import Prepared
from nel_action.planning.jobs import Context
from nel_action.planning.planner import make_plan
from nel_action.spec.compose import LoadedSpec
from nel_action.spec.policy import GatePolicy

GATE = {"tasks": {"alpha": {"min": 0.5}}}


def load_spec(folder: Path, **parts: Any) -> LoadedSpec:  # noqa: ANN401
    spec: dict[str, Any] = {
        "execution": {"type": "local", "runtime": "process"},
        "target": {"api_endpoint": {"model_id": "tiny", "url": "http://127.0.0.1:9/v1/chat/completions"}},
        "evaluation": {"tasks": [{"name": "alpha", "harness": "command", "command": ["true"]}]},
    }
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump(spec | parts, sort_keys=False))
    return load(path)


@pytest.fixture
def around(tmp_path: Path) -> Surroundings:
    return Surroundings(home=tmp_path / "home", environ={})


def test_valid_spec_has_no_problems(tmp_path: Path, around: Surroundings) -> None:
    assert check_spec(load_spec(tmp_path), around) == ()
    assert check_spec(load_spec(tmp_path, gate=GATE), around) == ()


@pytest.mark.parametrize(
    ("gate", "message", "line"),
    [
        ({"tasks": {"alpha": {"min": 0.5}}}, "gate.tasks.alpha matches several tasks", "    alpha:"),
        ({"tasks": {}}, "the gate states no limit", "gate:"),
    ],
)
def test_invalid_policy_is_an_error_at_its_line(
    tmp_path: Path, around: Surroundings, gate: dict[str, Any], message: str, line: str
) -> None:
    tasks = [{"name": f"{group}.alpha", "harness": "command", "command": ["true"]} for group in ("a", "b")]
    loaded = load_spec(tmp_path, evaluation={"tasks": tasks}, gate=gate)
    with pytest.raises(SpecError, match=message) as caught:
        check_spec(loaded, around)
    (problem,) = caught.value.problems
    assert problem.location is not None
    assert (tmp_path / "spec.yaml").read_text().splitlines()[(problem.location.line or 0) - 1] == line


def test_rules_of_the_surroundings_replace_the_policy_of_the_spec(tmp_path: Path) -> None:
    loaded = load_spec(tmp_path, gate=GATE)
    policy = GatePolicy.model_validate({"tasks": {"gamma": {"min": 0.5}}})

    def check(expected: tuple[str, ...]) -> None:
        rules = Rules(policy=policy, expected=expected, folder=tmp_path)
        check_spec(loaded, Surroundings(home=tmp_path, environ={}, rules=rules))

    check(("gamma",))
    with pytest.raises(SpecError, match="gamma"):
        check(("alpha",))


def test_missing_credentials_of_exports_are_warnings(tmp_path: Path, around: Surroundings) -> None:
    execution = {"type": "local", "runtime": "process", "auto_export": {"destinations": ["mlflow"]}}
    loaded = load_spec(tmp_path, execution=execution, export={"env_vars": {"KEY": "host:NOT_SET"}})
    (warning,) = check_spec(loaded, around)
    assert "NOT_SET is not set" in warning.message


@pytest.mark.parametrize(
    "parts",
    [
        {"export": {"local": {"formt": "json"}}},
        {"execution": {"type": "local", "auto_export": {"destinations": ["locla"]}}},
    ],
)
def test_invalid_exports_are_errors(tmp_path: Path, around: Surroundings, parts: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match=r"did you mean '(format|local)'"):
        check_spec(load_spec(tmp_path, **parts), around)


def test_destinations_of_the_surroundings_are_checked(tmp_path: Path) -> None:
    around = Surroundings(home=tmp_path, environ={}, exports=("locla",))
    with pytest.raises(SpecError, match="no exporter 'locla'"):
        check_spec(load_spec(tmp_path), around)


def prepared(loaded: LoadedSpec) -> Prepared:
    plan = make_plan(loaded.spec, Context(commit="c" * 40), base_dir=loaded.base_dir, locate=loaded.locate)
    return Prepared(loaded, plan, MemoryExecutor(), {})


def test_missing_baseline_is_found_before_the_backend_is_asked(tmp_path: Path, around: Surroundings) -> None:
    ready = prepared(load_spec(tmp_path, gate=GATE | {"baseline": "evals/none.json"}))
    with pytest.raises(NotFoundError, match=r"evals/none\.json"):
        check_plan(ready, around, endpoint=False)
    assert isinstance(ready.executor, MemoryExecutor)
    assert ready.executor.calls == []


def test_baseline_of_replaced_rules_is_checked_instead_of_the_specs(tmp_path: Path) -> None:
    ready = prepared(load_spec(tmp_path, gate=GATE | {"baseline": "evals/none.json"}))
    rules = Rules(policy=GatePolicy.model_validate(GATE), expected=("alpha",), folder=tmp_path)
    check_plan(ready, Surroundings(home=tmp_path, environ={}, rules=rules), endpoint=False)


def test_unset_variables_are_found_before_the_backend_is_asked(tmp_path: Path, around: Surroundings) -> None:
    ready = prepared(load_spec(tmp_path, env_vars={"KEY": "host:NOT_SET"}))
    with pytest.raises(SecretError, match="NOT_SET is not set"):
        check_plan(ready, around, endpoint=False)
    assert isinstance(ready.executor, MemoryExecutor)
    assert ready.executor.calls == []


def test_backend_is_checked(tmp_path: Path, around: Surroundings) -> None:
    ready = prepared(load_spec(tmp_path))
    check_plan(ready, around, endpoint=False)
    assert isinstance(ready.executor, MemoryExecutor)
    assert ready.executor.calls == ["check"]


def test_endpoint_is_not_checked_without_its_key(
    tmp_path: Path, around: Surroundings, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[object] = []
    monkeypatch.setattr("nel_action.lifecycle.prepare.check_endpoint", lambda api, *_a, **_k: calls.append(api.url))
    api = {"model_id": "tiny", "url": "http://127.0.0.1:9/v1/chat/completions", "api_key_name": "MY_KEY"}
    target = {"target": {"api_endpoint": api}, "env_vars": {"MY_KEY": "runtime:MY_KEY"}}
    check_plan(prepared(load_spec(tmp_path, **target)), around)
    assert calls == []


@pytest.mark.parametrize("endpoint", [True, False])
def test_endpoint_is_checked_on_request(
    tmp_path: Path, around: Surroundings, monkeypatch: pytest.MonkeyPatch, *, endpoint: bool
) -> None:
    calls: list[object] = []
    monkeypatch.setattr("nel_action.lifecycle.prepare.check_endpoint", lambda api, *_a, **_k: calls.append(api.url))
    check_plan(prepared(load_spec(tmp_path)), around, endpoint=endpoint)
    assert calls == (["http://127.0.0.1:9/v1/chat/completions"] if endpoint else [])
