"""The containerised runner, built from the repository's own Dockerfile on a base image that is made here.

The base stands in for `python:3.x-slim`, which no registry serves here; that the Dockerfile names it is tested too.
`NEL_ACTION_TEST_IMAGES=all` builds the target `harness` too, which downloads some hundred megabytes.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.doubles.openai_server import Model, OpenAIServer
from tests.support.images.base import base_image
from tests.support.images.build import LABEL, digest, docker, engine_here
from tests.support.require import require
from tests.support.workplace import BENCH

pytestmark = [pytest.mark.docker, pytest.mark.timeout(600)]

ROOT = Path(__file__).parents[3]
FROM_PARTS = [ROOT / name for name in ("Dockerfile", "pyproject.toml", "requirements", "src")]
SOMEBODY = "12345:54321"
"""An id that no image knows."""


def built(target: str) -> str:
    """Build a target, as its Dockerfile's first lines say; found again where nothing has changed."""
    require("docker", engine_here(), "no Docker engine answers")
    base = base_image()
    name = f"nel-action-test/{target}:{digest(*FROM_PARTS, text=base)}"
    words = ["--network", "host", "--build-arg", f"BASE={base}", "--target", target, "--label", LABEL, "--tag", name]
    docker("build", "--quiet", *words, str(ROOT))
    return name


@pytest.fixture(scope="module")
def runner() -> str:
    return built("runner")


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Path]:
    """Return a folder that anybody may write to, with a spec of one small benchmark and its target."""
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


def run(image: str, *words: str, options: tuple[str, ...] = ()) -> subprocess.CompletedProcess[str]:
    command = ["docker", "run", "--rm", "--network", "host", *options, image, *words]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)


def shell(image: str, script: str) -> str:
    done = run(image, "-c", script, options=("--entrypoint", "sh", "--user", "0"))
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("user", ["", SOMEBODY])
def test_it_runs_a_spec_as_anybody_but_root(runner: str, work: Path, user: str) -> None:
    options = ("--volume", f"{work}:/work", *(("--user", user) if user else ()))
    done = run(runner, "run", "spec.yaml", options=options)
    assert done.returncode == 0, done.stdout + done.stderr
    (results,) = work.glob("runs/*/results.json")
    assert json.loads(results.read_text())["tasks"][0]["scores"][0]["value"] == pytest.approx(0.8)
    assert results.stat().st_uid == int((user or "10001:").split(":")[0])


def test_its_exit_code_is_the_gates(runner: str, work: Path) -> None:
    spec = yaml.safe_load((work / "spec.yaml").read_text())
    spec["gate"]["tasks"]["arith"]["min"] = 0.99
    (work / "spec.yaml").write_text(yaml.safe_dump(spec))
    done = run(runner, "run", "spec.yaml", options=("--volume", f"{work}:/work"))
    assert done.returncode == 1, done.stdout + done.stderr


def test_it_speaks_ssh_and_has_nothing_to_build_with(runner: str) -> None:
    assert shell(runner, "/opt/nel-action/bin/python -c 'import paramiko; print(paramiko.__name__)'") == "paramiko"
    assert shell(runner, "for tool in gcc cc make uv git; do command -v $tool; done; true") == ""
    junk = "-name tests -o -name __pycache__ -path '*site-packages*' -not -path '*/nel_action/*'"
    assert shell(runner, f"find /opt/nel-action -type d {junk}") == ""
    assert shell(runner, "ls -A /root /home/nel /work /var/lib/apt/lists 2> /dev/null | grep -i cache; true") == ""


def test_nobody_can_change_the_program_from_inside(runner: str) -> None:
    done = run(runner, "-c", "id -u; touch /opt/nel-action/x", options=("--entrypoint", "sh"))
    assert done.stdout.strip() == "10001"
    assert done.returncode != 0


def test_it_weighs_what_the_base_and_the_core_weigh(runner: str) -> None:
    def size(image: str) -> int:
        return int(docker("image", "inspect", "--format", "{{.Size}}", image))

    added = size(runner) - size(base_image())
    installed = int(shell(runner, "du -sb /opt/nel-action | cut -f1"))
    assert added <= installed * 1.02, "the layers hold what is installed and nothing else"
    assert installed < 130e6, f"core and ssh weigh {installed / 1e6:.0f} MB"


def test_it_is_what_the_readme_of_the_dockerfile_says() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert re.search(r"^ARG BASE=python:3\.\d+-slim$", text, re.MULTILINE)
    assert "# syntax=" not in text
    assert "<<" not in text
    finals = re.findall(r"^FROM (\S+) AS (\S+)$", text, re.MULTILINE)
    assert [target for _, target in finals] == ["tools", "build", "runner", "build-harness", "harness"]
    assert {target: base for base, target in finals}["runner"] == "${BASE}"


def test_the_context_holds_what_the_build_needs_and_no_more() -> None:
    lines = (ROOT / ".dockerignore").read_text().split()
    assert lines[0] == "*"
    assert {line for line in lines if line.startswith("!")} >= {"!src", "!requirements", "!pyproject.toml"}
    assert not any("tests" in line for line in lines if line.startswith("!"))


if os.environ.get("NEL_ACTION_TEST_IMAGES") == "all":

    def test_the_harness_image_has_a_harness_beside_the_tool() -> None:
        image = built("harness")
        done = run(image, "lm-eval", "--help")
        assert done.returncode == 0, done.stderr
        assert "nel-action" in run(image, "nel-action", "--version").stdout
        assert run(image, "id", "-u").stdout.strip() == "10001"
