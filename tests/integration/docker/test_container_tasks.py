"""`ls tasks --from-container` with a real engine; the image answers as one that keeps the contract would."""

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
from nel_action.cli.container_tasks import tasks_of
from nel_action.cli.tasks import print_tasks
from nel_action.errors import ExecutorError, NotFoundError

if TYPE_CHECKING:
    from docker import DockerClient

pytestmark = pytest.mark.docker

ROOT = Path(__file__).parents[3]
FRAMEWORK = ROOT / "tests" / "support/nemo_harness/core_evals/sums/framework.yml"
NAME = "nel-action-test/lists-tasks"
STRICT = "! touch /x 2> /dev/null && test $(ls /sys/class/net | wc -l) = 1 && "
"""Fails where the root can be written to, or where there is another network than loopback."""


def image_with(engine: DockerClient, python: str) -> str:
    """Make an image whose `python` is this line of shell."""
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


def test_an_image_says_what_it_holds_and_can_do_nothing_else(
    engine: DockerClient, capsys: pytest.CaptureFixture[str]
) -> None:
    said = json.dumps([FRAMEWORK.read_text()])
    image = image_with(engine, f"{STRICT}cat <<'END'\n{said}\nEND")
    assert [task.full_name for task in tasks_of(image)] == ["sums.sums_add", "sums.sums_mul"]
    assert print_tasks(("mul",), harness=None, from_container=image, as_json=False) == 0
    assert capsys.readouterr().out.splitlines() == [f"sums  {image}", "  sums_mul  chat", "", "1 task of 1 harness"]
    assert not engine.containers.list(all=True, filters={"ancestor": image})


def test_the_catalog_is_made_anew_from_what_an_image_says(engine: DockerClient, tmp_path: Path) -> None:
    said = json.dumps([FRAMEWORK.read_text()])
    image = image_with(engine, f"cat <<'END'\n{said}\nEND")
    data = Path(shutil.copy(DATA, tmp_path / "benchmarks.json"))
    words = [sys.executable, str(ROOT / "scripts/refresh-catalog"), "--from-container", image, "--data", str(data)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.stdout == "24 harnesses, 423 tasks\n", done.stderr
    made = json.loads(data.read_text())
    assert made["harnesses"]["sums"]["container"] == image
    assert [task["name"] for task in made["tasks"] if task["harness"] == "sums"] == ["sums_add", "sums_mul"]
    kept = {task["name"]: task for task in made["tasks"] if task["harness"] != "sums"}
    assert kept == {task["name"]: task for task in json.loads(DATA.read_text())["tasks"]}
    again = subprocess.run(words, capture_output=True, text=True, check=False)
    assert again.stdout == done.stdout


@pytest.mark.parametrize("python", ["echo 'ModuleNotFoundError: core_evals' >&2; exit 1", "echo nonsense"])
def test_an_image_without_the_contract_is_told(engine: DockerClient, python: str) -> None:
    with pytest.raises(ExecutorError, match=f"{NAME}:latest does not list its tasks"):
        tasks_of(image_with(engine, python))


def test_an_image_that_is_nowhere_is_told(engine: DockerClient) -> None:
    assert engine.ping()
    with pytest.raises(NotFoundError, match=r"cannot pull localhost:1/nowhere:latest"):
        tasks_of("localhost:1/nowhere:latest")
