"""The containerised runner, built from the repository's Dockerfile on a locally created base image.

The base image replaces `python:3.x-slim`, so that no registry is needed; another test checks that the Dockerfile names
it. `NEL_ACTION_TEST_IMAGES=all` also builds the target `harness` and installs lm-evaluation-harness in the runner: some
hundred megabytes are downloaded.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.doubles.openai_server import Model, OpenAIServer
from tests.support.images.base import base_image
from tests.support.images.build import LABEL, digest, docker, engine_available
from tests.support.require import require
from tests.support.workplace import BENCH

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[3]
BUILD_INPUTS = [
    ROOT / name for name in ("Dockerfile", "pyproject.toml", "requirements", "src", "scripts/container-entrypoint")
]
UNKNOWN_USER = "12345:54321"
"""A user and group ID that no image defines."""


def build_image(target: str) -> str:
    """Build a target as the first lines of the Dockerfile describe; unchanged images come from the cache."""
    require("docker", engine_available(), "no Docker engine answers")
    base = base_image()
    name = f"nel-action-test/{target}:{digest(*BUILD_INPUTS, text=base)}"
    options = ["--network", "host", "--build-arg", f"BASE={base}", "--target", target, "--label", LABEL, "--tag", name]
    docker("build", "--quiet", *options, str(ROOT))
    return name


@pytest.fixture(scope="module")
def runner() -> str:
    return build_image("runner")


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Path]:
    """Return a world-writable directory with a spec of one small benchmark and its target."""
    with OpenAIServer(Model(name="tiny")) as server:
        (tmp_path / "bench").mkdir()
        (tmp_path / "bench/bench.py").write_text(BENCH)
        task = {"name": "arith", "harness": "command", "task_dir": "bench", "params": {"extra": {"value": "0.8"}}}
        spec = {
            "execution": {"type": "local", "runtime": "process"},
            "target": {"api_endpoint": {"model_id": "tiny", "url": server.url("chat")}},
            "evaluation": {"tasks": [task | {"command": ["python3", "{task_dir}/bench.py"]}]},
            "gate": {"tasks": {"arith": {"min": 0.5}}},
        }
        (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
        for path in (tmp_path, *tmp_path.rglob("*")):
            path.chmod(0o777)
        yield tmp_path


def run(image: str, *argv: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = ["docker", "run", "--rm", "--network", "host", *options, image, *argv]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def shell(image: str, script: str) -> str:
    process = run(image, "-c", script, options=("--entrypoint", "sh", "--user", "0"))
    assert process.returncode == 0, process.stderr
    return process.stdout.strip()


@pytest.mark.parametrize(
    ("argv", "expected"),
    [
        (("sh", "-c", "nel-action --version"), "nel-action"),  # GitLab
        (("/bin/sh", "-e", "-c", "nel-action --version"), "nel-action"),  # Buildkite
        (("cat", "/etc/debian_version"), "."),  # Jenkins
        (("nel-action", "--version"), "nel-action"),
        (("kill", "--help"), "Cancel the jobs"),
        ((), "Usage: nel-action"),
    ],
)
def test_the_entry_point_runs_what_a_ci_system_names(runner: str, argv: tuple[str, ...], expected: str) -> None:
    process = run(runner, *argv)
    assert process.returncode == 0, process.stderr
    assert expected in process.stdout


def snippets() -> dict[str, str]:
    """Return the command of each example in docs/other-ci.md."""
    text = (ROOT / "docs/other-ci.md").read_text(encoding="utf-8")
    parts = dict(part.partition("\n")[::2] for part in re.split(r"^## ", text, flags=re.MULTILINE)[1:])
    blocks = {name: re.findall(r"```\w+\n(.*?)```", part, re.DOTALL)[0] for name, part in parts.items()}
    jenkins = re.search(r"script: '([^']+)'", blocks["Jenkins"])
    assert jenkins
    return {
        "GitLab": "\n".join(yaml.safe_load(blocks["GitLab"])["benchmark-gate"]["script"]),
        "Jenkins": jenkins[1],
        "Buildkite": yaml.safe_load(blocks["Buildkite"])["steps"][0]["command"],
        "cron": blocks["cron"].strip().splitlines()[-1],
    }


STARTS = {
    "GitLab": ("sh", "-c", "{}"),
    "Jenkins": ("cat",),
    "Buildkite": ("/bin/sh", "-e", "-c", "{}"),
}
"""What each system starts in the container; Jenkins runs its steps in a container that runs `cat`."""

VARIABLES = {"GitLab": "CI_COMMIT_SHA", "Jenkins": "GIT_COMMIT", "Buildkite": "BUILDKITE_COMMIT"}


@pytest.mark.parametrize("system", ["GitLab", "Jenkins", "Buildkite", "cron"])
def test_the_example_of_a_ci_system_ends_with_the_exit_code_and_junit(runner: str, work: Path, system: str) -> None:
    (work / "evals").mkdir(mode=0o777)
    (work / "bench").rename(work / "evals/bench")
    (work / "spec.yaml").rename(work / ("gate.yaml" if system == "cron" else "evals/gate.yaml"))
    if system == "cron":
        (work / "evals/bench").rename(work / "bench")
    command, commit = snippets()[system], "c" * 40
    options: tuple[str, ...] = ("--volume", f"{work}:/work")
    if system == "cron":
        argv = command.partition("$IMAGE")[2].split()
        assert "--volume /srv/evals:/work" in command
    else:
        argv = [argument.replace("{}", command) for argument in STARTS[system]]
        options += ("--env", f"{VARIABLES[system]}={commit}")
    if system == "Jenkins":
        # NOTE: `cat` waits for input, as Jenkins starts it; the step is a second process in the container.
        start = ["docker", "run", "--rm", "--detach", "--tty", "--network", "host", *options, runner, *argv]
        container = subprocess.run(start, capture_output=True, text=True, check=True).stdout.strip()
        step = ["docker", "exec", "--workdir", "/work", container, "sh", "-c", command]
        process = subprocess.run(step, capture_output=True, text=True, check=False, timeout=300)
        subprocess.run(["docker", "kill", container], check=True, capture_output=True)
    else:
        process = run(runner, *argv, options=options)
    assert process.returncode == 0, process.stdout + process.stderr
    (junit,) = work.glob("runs/*/junit.xml")
    assert "<testsuite" in junit.read_text()
    if system != "cron":
        results = json.loads(junit.with_name("results.json").read_text())
        assert (results["commit"], results["commit_source"]) == (commit, VARIABLES[system])


def test_steps_of_the_action_say_what_they_leave_out_elsewhere(runner: str, work: Path) -> None:
    spec = yaml.safe_load((work / "spec.yaml").read_text())
    spec["gate"]["tasks"]["arith"]["min"] = 0.79  # too close to the score for a decision
    (work / "spec.yaml").write_text(yaml.safe_dump(spec))
    options = ("--volume", f"{work}:/work", "--env", "INPUT_SPEC=spec.yaml", "--env", "INPUT_COMMENT=always")
    process = run(runner, "ci", "run", options=options)
    assert process.returncode == 0, process.stdout + process.stderr
    assert "inconclusive" in process.stdout
    expected = (
        "this is not a GitHub workflow: no check, no comment, no outputs and no artifact are written; ignored: comment"
    )
    assert expected in process.stderr


def test_the_commit_of_a_checkout_of_another_user_is_known(runner: str, work: Path) -> None:
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.invalid")
    for arguments in (("init", "-q"), ("add", "-A"), (*identity, "commit", "-qm", "spec")):
        subprocess.run(["git", "-C", str(work), *arguments], check=True)
    process = run(runner, "run", "spec.yaml", options=("--volume", f"{work}:/work", "--user", UNKNOWN_USER))
    assert process.returncode == 0, process.stdout + process.stderr
    (file,) = work.glob("runs/*/results.json")
    head = subprocess.run(["git", "-C", str(work), "rev-parse", "HEAD"], check=True, capture_output=True, text=True)
    results = json.loads(file.read_text())
    assert (results["commit"], results["commit_source"]) == (head.stdout.strip(), "checkout")


@pytest.mark.parametrize("user", ["", UNKNOWN_USER])
def test_the_runner_runs_a_spec_as_a_non_root_user(runner: str, work: Path, user: str) -> None:
    options = ("--volume", f"{work}:/work", *(("--user", user) if user else ()))
    process = run(runner, "run", "spec.yaml", options=options)
    assert process.returncode == 0, process.stdout + process.stderr
    (results,) = work.glob("runs/*/results.json")
    assert json.loads(results.read_text())["tasks"][0]["scores"][0]["value"] == pytest.approx(0.8)
    assert results.stat().st_uid == int((user or "10001:").split(":")[0])


def test_the_exit_code_is_that_of_the_gate(runner: str, work: Path) -> None:
    spec = yaml.safe_load((work / "spec.yaml").read_text())
    spec["gate"]["tasks"]["arith"]["min"] = 0.99
    (work / "spec.yaml").write_text(yaml.safe_dump(spec))
    process = run(runner, "run", "spec.yaml", options=("--volume", f"{work}:/work"))
    assert process.returncode == 1, process.stdout + process.stderr


def test_the_runner_has_ssh_git_and_uv_and_no_build_tools(runner: str) -> None:
    for tool in ("git", "uv"):
        assert run(runner, tool, "--version").stdout.startswith(tool)
    assert shell(runner, "/opt/nel-action/bin/python -c 'import paramiko; print(paramiko.__name__)'") == "paramiko"
    assert shell(runner, "for tool in gcc cc make; do command -v $tool; done; true") == ""
    unwanted = "-name tests -o -name __pycache__ -path '*site-packages*' -not -path '*/nel_action/*'"
    assert shell(runner, f"find /opt/nel-action -type d {unwanted}") == ""
    assert shell(runner, "ls -A /root /home/nel /work /var/lib/apt/lists 2> /dev/null | grep -i cache; true") == ""


def test_the_program_is_read_only_for_its_user(runner: str) -> None:
    process = run(runner, "-c", "id -u; touch /opt/nel-action/x", options=("--entrypoint", "sh"))
    assert process.stdout.strip() == "10001"
    assert process.returncode != 0


def test_the_image_contains_only_the_base_and_the_installed_program(runner: str) -> None:
    def size(image: str) -> int:
        return int(docker("image", "inspect", "--format", "{{.Size}}", image))

    added = size(runner) - size(base_image())
    installed = int(shell(runner, "du -sb /opt/nel-action | cut -f1"))
    git = 160e6  # with perl and the libraries that it needs
    assert added <= installed * 1.02 + git, "the layers are larger than the installed files"
    assert installed < 150e6, f"the installed files have {installed / 1e6:.0f} MB"


def test_the_dockerfile_has_the_documented_targets_and_base() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert re.search(r"^ARG BASE=python:3\.\d+-slim$", text, re.MULTILINE)
    assert "# syntax=" not in text
    assert "<<" not in text
    finals = re.findall(r"^FROM (\S+) AS (\S+)$", text, re.MULTILINE)
    assert [target for _, target in finals] == ["tools", "build", "runner", "build-harness", "harness"]
    assert {target: base for base, target in finals}["runner"] == "${BASE}"


def test_the_build_context_contains_only_what_the_build_needs() -> None:
    lines = (ROOT / ".dockerignore").read_text().split()
    assert lines[0] == "*"
    assert {line for line in lines if line.startswith("!")} >= {"!src", "!requirements", "!pyproject.toml"}
    assert not any("tests" in line for line in lines if line.startswith("!"))


if os.environ.get("NEL_ACTION_TEST_IMAGES") == "all":

    def test_the_harness_image_contains_harness_and_tool() -> None:
        image = build_image("harness")
        process = run(image, "lm-eval", "--help")
        assert process.returncode == 0, process.stderr
        assert "nel-action" in run(image, "nel-action", "--version").stdout
        assert run(image, "id", "-u").stdout.strip() == "10001"

    def test_lm_eval_runs_as_a_process_in_a_read_only_image_and_again_from_the_volume(runner: str, work: Path) -> None:
        shutil.copytree(ROOT / "tests/support/lm_eval_tasks", work / "tasks")
        spec = yaml.safe_load((work / "spec.yaml").read_text())
        task = {"name": "sums_add", "harness": "lm_eval", "task_dir": "tasks", "params": {"limit_samples": 4}}
        spec |= {"evaluation": {"tasks": [task]}, "gate": {"tasks": {"sums_add": {"min": 0.05}}}}
        (work / "spec.yaml").write_text(yaml.safe_dump(spec))
        (work / "tasks").chmod(0o777)
        volume = docker("volume", "create", "--label", LABEL).strip()
        options = [
            *("--read-only", "--mount", "type=tmpfs,target=/tmp", "--user", UNKNOWN_USER),
            *("--volume", f"{volume}:/home/nel", "--volume", f"{work}:/work"),
        ]
        try:
            for offline in ("", "1"):
                extra = ("--env", "UV_OFFLINE=1", "--env", f"NEL_ACTION_COMMIT={'d' * 40}") if offline else ()
                process = run(runner, "run", "spec.yaml", options=(*options, *extra))
                assert process.returncode in {0, 4}, process.stdout + process.stderr
        finally:
            docker("volume", "rm", volume)
        files = list(work.glob("runs/*/results.json"))
        assert len(files) == 2
        for file in files:
            assert json.loads(file.read_text())["tasks"][0]["scores"], file.read_text()
