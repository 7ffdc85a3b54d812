from __future__ import annotations

import inspect
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.project import Project
from tests.support.scenarios import Scenario, install, write_spec

import nel_action
from nel_action.api import ExportWarning
from nel_action.errors import EndpointError, NotFoundError, SpecError
from nel_action.gating.verdict import Verdict
from nel_action.model.job import JobState

pytestmark = pytest.mark.slow

SURFACE = ["__version__", "export", "gate", "load_spec", "plan", "run", "status", "wait"]


def test_public_names_are_locked() -> None:
    assert nel_action.__all__ == SURFACE
    for name in SURFACE[1:]:
        function = getattr(nel_action, name)
        assert inspect.isfunction(function)
        assert function.__doc__
        assert inspect.signature(function).return_annotation is not inspect.Signature.empty


def test_importing_all_modules_keeps_the_public_names() -> None:
    code = (
        "import pkgutil, importlib, inspect, nel_action\n"
        "for module in pkgutil.walk_packages(nel_action.__path__, 'nel_action.'):\n"
        "    if '__main__' not in module.name and '.llamacpp_server' not in module.name:\n"
        "        try: importlib.import_module(module.name)\n"
        "        except ModuleNotFoundError as error: assert 'nel_action' not in str(error.name), error\n"
        f"assert all(inspect.isfunction(getattr(nel_action, name)) for name in {SURFACE[1:]!r})\n"
    )
    subprocess.run([sys.executable, "-W", "ignore", "-c", code], check=True, timeout=60)


def test_importing_the_package_imports_nothing_heavy() -> None:
    code = "import sys, nel_action; print(len([m for m in sys.modules if m.startswith(('pydantic', 'numpy', 'yaml'))]))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60)
    assert done.stdout.strip() == "0"


def test_run_and_wait_return_the_verdict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = Project(tmp_path / "p", tasks=("alpha", "beta"))
    monkeypatch.chdir(project.folder)
    monkeypatch.setenv("NEL_ACTION_HOME", project.environ["NEL_ACTION_HOME"])
    spec = nel_action.load_spec(project.folder / "spec.yaml", tasks=["beta"])
    assert [job.name for job in nel_action.plan(spec).jobs] == ["beta"]
    invocation = nel_action.run(spec, check_endpoint=False)
    report = nel_action.wait(invocation, timeout=60)
    assert (report.gate.verdict, report.gate.exit_code) == (Verdict.PASS, 0)
    assert [view.state for view in nel_action.status(invocation)] == [JobState.SUCCEEDED]
    assert nel_action.gate(invocation, baseline=invocation).verdict is Verdict.PASS
    assert project.ran == ["beta"]
    with pytest.raises(NotFoundError):
        nel_action.status("ffffffff")


@pytest.mark.parametrize(
    ("gate", "error", "message"),
    [
        ("gate: {tasks: {}}", SpecError, "the gate states no limit"),
        ("gate: {tasks: {alpha: {max_drop: 0.1}}, baseline: evals/none.json}", NotFoundError, "evals/none.json"),
        ("export: {local: {formt: csv}}", SpecError, "did you mean 'format'"),
    ],
)
def test_run_checks_gate_baseline_and_exports_before_it_creates_anything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, gate: str, error: type[Exception], message: str
) -> None:
    project = Project(tmp_path / "p", tasks=("alpha",), extra=gate)
    monkeypatch.chdir(project.folder)
    monkeypatch.setenv("NEL_ACTION_HOME", project.environ["NEL_ACTION_HOME"])
    with pytest.raises(error, match=message):
        nel_action.run(nel_action.load_spec(project.folder / "spec.yaml"), check_endpoint=False)
    assert project.runs == []


def test_run_checks_the_endpoint_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    project = Project(tmp_path / "p", tasks=("alpha",))
    monkeypatch.chdir(project.folder)
    monkeypatch.setenv("NEL_ACTION_HOME", project.environ["NEL_ACTION_HOME"])
    with pytest.raises(EndpointError, match="connection refused"):
        nel_action.run(nel_action.load_spec(project.folder / "spec.yaml"))
    assert project.runs == []


def test_run_warns_of_exports_that_will_fail_and_calls_on_created(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scenario = Scenario()
    path = write_spec(scenario, tmp_path)
    path.write_text(path.read_text() + "export: {env_vars: {KEY: 'host:NOT_SET'}}\n")
    install(scenario, monkeypatch)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("NEL_ACTION_HOME", str(tmp_path / "home"))
    created: list[str] = []
    spec = nel_action.load_spec(path, overrides=["+execution.auto_export.destinations=[scripted]"])
    with pytest.warns(ExportWarning, match="NOT_SET is not set"):
        invocation = nel_action.run(spec, on_created=lambda session: created.append(session.invocation.id))
    assert created == [invocation]
