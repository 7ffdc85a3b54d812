"""`ls tasks --from-container` with a real engine and an image that imitates the nemo-evaluator contract."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from tests.support.docker import tiny_image

from nel_action.catalog.lookup import DATA
from nel_action.cli.tasks import container_tasks, print_tasks
from nel_action.errors import ExecutorError, NotFoundError

if TYPE_CHECKING:
    from docker import DockerClient

pytestmark = pytest.mark.docker

ROOT = Path(__file__).parents[3]
FRAMEWORK = ROOT / "tests" / "support/nemo_harness/core_evals/sums/framework.yml"
NAME = "nel-action-test/lists-tasks"
SANDBOXED = "! touch /x 2> /dev/null && test $(ls /sys/class/net | wc -l) = 1 && "
"""Fails if the root is writable or there is a network other than loopback."""


def image_with(engine: DockerClient, python: str) -> str:
    """Build an image whose `python` is this line of shell."""
    container = engine.containers.create(tiny_image(engine), ["true"])
    try:
        data = io.BytesIO()
        with tarfile.open(fileobj=data, mode="w") as archive:
            content = f"#!/bin/sh\n{python}\n".encode()
            entry = tarfile.TarInfo("bin/python")
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
        container.put_archive("/", data.getvalue())
        container.commit(NAME, "latest")
    finally:
        container.remove()
    return f"{NAME}:latest"


def test_container_tasks_lists_an_image_in_a_sandbox(engine: DockerClient, capsys: pytest.CaptureFixture[str]) -> None:
    frameworks = json.dumps([FRAMEWORK.read_text()])
    image = image_with(engine, f"{SANDBOXED}cat <<'END'\n{frameworks}\nEND")
    assert [task.full_name for task in container_tasks(image)] == ["sums.sums_add", "sums.sums_mul"]
    assert print_tasks(("mul",), harness=None, from_container=image, as_json=False) == 0
    assert capsys.readouterr().out.splitlines() == [f"sums  {image}", "  sums_mul  chat", "", "1 task of 1 harness"]
    assert not engine.containers.list(all=True, filters={"ancestor": image})


def test_refresh_catalog_adds_the_tasks_of_an_image(engine: DockerClient, tmp_path: Path) -> None:
    frameworks = json.dumps([FRAMEWORK.read_text()])
    image = image_with(engine, f"cat <<'END'\n{frameworks}\nEND")
    data = Path(shutil.copy(DATA, tmp_path / "benchmarks.json"))
    command = [sys.executable, str(ROOT / "scripts/refresh-catalog"), "--from-container", image, "--data", str(data)]
    first = subprocess.run(command, capture_output=True, text=True, check=False)
    assert first.stdout == "24 harnesses, 423 tasks\n", first.stderr
    updated = json.loads(data.read_text())
    assert updated["harnesses"]["sums"]["container"] == image
    assert [task["name"] for task in updated["tasks"] if task["harness"] == "sums"] == ["sums_add", "sums_mul"]
    kept = {task["name"]: task for task in updated["tasks"] if task["harness"] != "sums"}
    assert kept == {task["name"]: task for task in json.loads(DATA.read_text())["tasks"]}
    second = subprocess.run(command, capture_output=True, text=True, check=False)
    assert second.stdout == first.stdout


@pytest.mark.parametrize("python", ["echo 'ModuleNotFoundError: core_evals' >&2; exit 1", "echo nonsense"])
def test_container_tasks_rejects_an_image_without_the_contract(engine: DockerClient, python: str) -> None:
    with pytest.raises(ExecutorError, match=f"{NAME}:latest does not list its tasks"):
        container_tasks(image_with(engine, python))


def test_container_tasks_reports_an_image_that_cannot_be_pulled(engine: DockerClient) -> None:
    assert engine.ping()
    with pytest.raises(NotFoundError, match=r"cannot pull localhost:1/nowhere:latest"):
        container_tasks("localhost:1/nowhere:latest")
