"""Verbosity, log redaction and the supervisor's log on the command line."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support.project import Project

from nel_action.cli.app import root
from nel_action.cli.common import LOG_REDACTOR

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose jobs have run once."""
    project = Project(tmp_path_factory.mktemp("project") / "checkout", tasks=("alpha",))
    process = project.nel("run", str(project.folder / "spec.yaml"), "--skip-endpoint-check", "--wait")
    assert process.returncode == 0, process.stderr
    return project


def invocation(project: Project) -> str:
    return str(json.loads(project.nel("ls", "runs", "--json").stdout)[0]["invocation"])


def test_commands_log_nothing_by_default(project: Project) -> None:
    assert " INFO " not in project.nel("status", invocation(project)).stderr


@pytest.mark.parametrize("argv", [["-v", "run"], ["run", "-v"]])
def test_verbose_is_accepted_before_and_after_the_command(project: Project, argv: list[str]) -> None:
    process = project.nel(*argv, str(project.folder / "spec.yaml"), "--fresh", "--skip-endpoint-check", "--wait")
    assert process.returncode == 0, process.stderr
    assert " INFO nel_action.executors.local.supervisor: started the supervisor of " in process.stderr
    assert " DEBUG " not in process.stderr


@pytest.mark.parametrize("argv", [["-vv", "run"], ["-v", "run", "-v"]])
def test_verbose_twice_logs_details(project: Project, argv: list[str]) -> None:
    process = project.nel(*argv, str(project.folder / "spec.yaml"), "--fresh", "--skip-endpoint-check", "--wait")
    assert process.returncode == 0, process.stderr
    assert " DEBUG nel_action.executors.local.executor: created " in process.stderr


def test_log_messages_are_redacted(tmp_path: Path) -> None:
    code = (
        "import logging, sys\n"
        "from nel_action.cli.app import root\n"
        "from nel_action.cli.version import version\n"
        "version.callback = lambda **_: logging.getLogger('nel_action.x').info('token t0p-s3cret')\n"
        "root.main(['-v', 'version'], standalone_mode=False)\n"
    )
    environ = {**os.environ, "SOME_TOKEN": "t0p-s3cret", "HOME": str(tmp_path)}
    process = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=True)
    assert "token ***" in process.stderr
    assert "t0p-s3cret" not in process.stderr


def test_variables_of_the_spec_are_redacted_once_it_is_loaded(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    from nel_action.cli.common import load, start_logging

    monkeypatch.setenv("HUB_LOGIN", "plain-looking-value")
    spec = project.folder / "named.yaml"
    text = (project.folder / "spec.yaml").read_text()
    spec.write_text(text.replace("env_vars: {", "env_vars: {LOGIN: 'host:HUB_LOGIN', "))
    with root.make_context("nel-action", ["version"]) as ctx:
        start_logging(ctx, 1)
        redact = ctx.meta[LOG_REDACTOR]
        assert redact("plain-looking-value") == "plain-looking-value"
        load(spec, config=None, config_dir=None, config_name=None, overrides=(), tasks=(), environ=os.environ)
        assert redact("plain-looking-value") == "***"


def test_info_names_the_supervisor_log(project: Project) -> None:
    identity = invocation(project)
    path = Path(json.loads(project.nel("info", identity, "--json").stdout)["supervisor_log"])
    assert re.search(rf"^supervisor.log +{re.escape(str(path))}$", project.nel("info", identity).stdout, re.MULTILINE)
    assert f"runs invocation {identity}" in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_logs_supervisor_prints_the_supervisor_log(project: Project) -> None:
    identity = invocation(project)
    process = project.nel("logs", "--supervisor", identity)
    assert process.returncode == 0, process.stderr
    lines = process.stdout.splitlines()
    assert any(line.endswith(f"runs invocation {identity}") for line in lines)
    assert any("starting the harness" in line for line in lines)
    assert any(": succeeded" in line for line in lines)


def test_logs_supervisor_rejects_options_for_jobs(project: Project) -> None:
    process = project.nel("logs", "--supervisor", "--follow", invocation(project))
    assert process.returncode == 2
    assert "--supervisor cannot be combined" in process.stderr


def test_logs_supervisor_reports_a_missing_log(project: Project) -> None:
    identity = invocation(project)
    path = Path(json.loads(project.nel("info", identity, "--json").stdout)["supervisor_log"])
    text = path.read_text()
    path.unlink()
    try:
        process = project.nel("logs", "--supervisor", identity)
    finally:
        path.write_text(text)
    assert process.returncode == 2
    assert "has no supervisor log" in process.stderr
