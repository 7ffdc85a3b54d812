"""scripts/release-image builds on a base image pinned by digest; a shell script replaces the Docker client."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DIGEST = "sha256:" + "0a" * 32
DOCKER_CLIENT = """\
#!/bin/sh
echo "$@" >> "$CALLS"
case "$1" in
buildx) echo "$ANSWER" ;;
login) cat > "$CALLS.stdin" ;;
esac
"""


def release(folder: Path, *, answer: str = DIGEST, version: str = "v1.2.3") -> tuple[int, list[str]]:
    """Run the script; return its exit code and the arguments of each Docker call."""
    (folder / "docker").write_text(DOCKER_CLIENT)
    (folder / "docker").chmod(0o755)
    calls = folder / "calls"
    variables = {"IMAGE": "registry.example/o/nel-action", "VERSION": version, "ACTOR": "octocat", "TOKEN": "t0ken"}
    paths = {"PATH": f"{folder}:{os.environ['PATH']}", "CALLS": str(calls), "ANSWER": answer}
    done = subprocess.run(
        [ROOT / "scripts/release-image"], env=variables | paths, capture_output=True, text=True, check=False
    )
    return done.returncode, calls.read_text().splitlines() if calls.exists() else []


def test_both_targets_are_built_on_pinned_base_and_pushed(tmp_path: Path) -> None:
    code, calls = release(tmp_path)
    assert code == 0
    builds = [call for call in calls if call.startswith("buildx build ")]
    assert [call.split("--target ")[1].split()[0] for call in builds] == ["runner", "harness"]
    assert all(f"BASE=python@{DIGEST}" in call and f"base.digest={DIGEST}" in call for call in builds)
    tags = [call.split("--tag ")[1].split()[0] for call in builds]
    assert tags == ["registry.example/o/nel-action:1.2.3", "registry.example/o/nel-action:1.2.3-harness"]


def test_images_are_pushed_with_sbom_and_provenance_by_a_builder_that_is_removed(tmp_path: Path) -> None:
    _, calls = release(tmp_path)
    builds = [call for call in calls if call.startswith("buildx build ")]
    assert all("--provenance mode=max --sbom true --push" in call for call in builds)
    (builder,) = {call.split("--builder ")[1].split()[0] for call in builds}
    assert f"buildx create --name {builder} --driver docker-container" in calls
    assert calls[-1] == f"buildx rm {builder}"


def test_token_is_passed_on_standard_input(tmp_path: Path) -> None:
    _, calls = release(tmp_path)
    assert not any("t0ken" in call for call in calls)
    assert (tmp_path / "calls.stdin").read_text().strip() == "t0ken"


@pytest.mark.parametrize("answer", ["", "latest", "sha256:short", f"{DIGEST} and more"])
def test_missing_digest_builds_nothing(tmp_path: Path, answer: str) -> None:
    code, calls = release(tmp_path, answer=answer)
    assert code == 3
    assert not any(call.startswith(("buildx build ", "buildx create ", "login ")) for call in calls)


@pytest.mark.parametrize("version", ["main", "v1.2.3; rm -rf /", "1.2.3", "--flag"])
def test_invalid_version_is_refused(tmp_path: Path, version: str) -> None:
    assert release(tmp_path, version=version) == (2, [])
