from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from nel_action.errors import EngineError, UsageError
from nel_action.executors import virtualenvs
from nel_action.executors.virtualenvs import ensure_virtualenv, find_uv, find_virtualenv, virtualenv_digest

METADATA = "Metadata-Version: 2.1\nName: tiny-harness\nVersion: 1.0\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: by-hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
PROGRAM = "def main():\n    print('tiny harness 1.0')\n"


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A wheel with one console script."""
    path = tmp_path / "tiny_harness-1.0-py3-none-any.whl"
    files = {
        "tiny_harness.py": PROGRAM,
        "tiny_harness-1.0.dist-info/METADATA": METADATA,
        "tiny_harness-1.0.dist-info/WHEEL": WHEEL,
        "tiny_harness-1.0.dist-info/entry_points.txt": "[console_scripts]\ntiny-harness = tiny_harness:main\n",
    }
    record = "".join(f"{name},,\n" for name in [*files, "tiny_harness-1.0.dist-info/RECORD"])
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in {**files, "tiny_harness-1.0.dist-info/RECORD": record}.items():
            archive.writestr(name, text)
    return path


@pytest.fixture
def locked(wheel: Path) -> Path:
    """A requirements file that pins the wheel by its hash."""
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    path = wheel.with_name("requirements.txt")
    path.write_text(f"tiny-harness @ {wheel.as_uri()} --hash=sha256:{digest}\n")
    return path


def test_ensure_virtualenv_creates_an_environment_once_and_reuses_it(tmp_path: Path, locked: Path) -> None:
    output: list[str] = []
    assert find_virtualenv(tmp_path / "home", locked) is None
    programs = ensure_virtualenv(tmp_path / "home", locked, on_output=output.append)
    run = subprocess.run([programs / "tiny-harness"], capture_output=True, text=True, check=True)
    assert run.stdout == "tiny harness 1.0\n"
    assert any("tiny-harness" in line for line in output)
    output.clear()
    assert ensure_virtualenv(tmp_path / "home", ("-r", str(locked)), on_output=output.append) == programs
    assert find_virtualenv(tmp_path / "home", locked) == programs
    assert output == []


def test_concurrent_processes_create_an_environment_once(tmp_path: Path, locked: Path) -> None:
    argv = [sys.executable, "-m", virtualenvs.__name__, str(tmp_path / "home"), "-r", str(locked)]
    both = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    output = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum("tiny-harness" in text for text in output) == 1


def test_an_incomplete_environment_is_created_again(tmp_path: Path, locked: Path) -> None:
    programs = ensure_virtualenv(tmp_path / "home", locked)
    (programs.parent / ".complete").unlink()
    (programs / "tiny-harness").unlink()
    assert find_virtualenv(tmp_path / "home", locked) is None
    assert (ensure_virtualenv(tmp_path / "home", locked) / "tiny-harness").exists()


def test_virtualenv_digest_depends_on_the_file_contents_only(locked: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text(locked.read_text() + "# more\n")
    assert virtualenv_digest(locked) != virtualenv_digest(other)
    same = tmp_path / "same.txt"
    same.write_bytes(locked.read_bytes())
    assert virtualenv_digest(locked) == virtualenv_digest(same)


def test_a_package_with_another_hash_is_rejected(tmp_path: Path, locked: Path) -> None:
    locked.write_text(locked.read_text().partition("sha256:")[0] + f"sha256:{0:064x}\n")
    with pytest.raises(EngineError, match=r"(?i)hash mismatch") as caught:
        ensure_virtualenv(tmp_path / "home", locked)
    assert "differs from the locked one" in str(caught.value)
    assert find_virtualenv(tmp_path / "home", locked) is None


def test_a_file_with_hashes_requires_them_for_every_package(tmp_path: Path, locked: Path, wheel: Path) -> None:
    locked.write_text(locked.read_text() + f"other @ {wheel.as_uri()}\n")
    with pytest.raises(EngineError, match="hash"):
        ensure_virtualenv(tmp_path / "home", locked)


def test_a_package_without_hash_can_be_added_to_a_locked_file(tmp_path: Path, locked: Path, wheel: Path) -> None:
    arguments = ("--no-deps", "-r", str(locked), str(wheel))
    assert (ensure_virtualenv(tmp_path / "home", arguments) / "tiny-harness").exists()


def test_a_failed_download_names_the_package_and_the_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    with pytest.raises(EngineError, match="cannot create the environment") as caught:
        ensure_virtualenv(tmp_path / "home", ["no-such-harness==1.0"])
    assert "no-such-harness" in str(caught.value)
    assert "the network" in str(caught.value)


def test_a_missing_requirements_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.txt"):
        ensure_virtualenv(tmp_path / "home", tmp_path / "nowhere.txt")


def test_find_uv_explains_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uv", None)
    with pytest.raises(EngineError, match="cannot find uv") as caught:
        find_uv({"PATH": ""})
    assert "pip install 'nel-action[process]'" in str(caught.value)


@pytest.mark.parametrize(("arguments", "required"), [((), False), (("package==1",), False), (("--no-deps",), False)])
def test_requires_hashes_only_if_every_package_comes_from_a_file(arguments: Sequence[str], required: bool) -> None:  # noqa: FBT001
    assert virtualenvs._requires_hashes(arguments) is required


def test_the_installer_inherits_no_secrets() -> None:
    environ = {"PATH": "/bin", "UV_INDEX_URL": "x", "API_KEY": "secret", "GITHUB_TOKEN": "secret"}
    assert virtualenvs._installer_environ(environ) == {"PATH": "/bin", "UV_INDEX_URL": "x", "UV_NO_CONFIG": "1"}
