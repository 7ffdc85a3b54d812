from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from nel_action.errors import EngineError, UsageError
from nel_action.executors import virtualenvs as environments
from nel_action.executors.virtualenvs import environment, environment_digest, find_uv, installed

METADATA = "Metadata-Version: 2.1\nName: tiny-harness\nVersion: 1.0\n"
WHEEL = "Wheel-Version: 1.0\nGenerator: by-hand\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
PROGRAM = "def main():\n    print('tiny harness 1.0')\n"


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    """A package with one program, made here."""
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
    """A hashed requirements file that names it."""
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    path = wheel.with_name("requirements.txt")
    path.write_text(f"tiny-harness @ {wheel.as_uri()} --hash=sha256:{digest}\n")
    return path


def test_an_environment_is_made_once_and_found_again(tmp_path: Path, locked: Path) -> None:
    said: list[str] = []
    assert installed(tmp_path / "home", locked) is None
    programs = environment(tmp_path / "home", locked, on_progress=said.append)
    run = subprocess.run([programs / "tiny-harness"], capture_output=True, text=True, check=True)
    assert run.stdout == "tiny harness 1.0\n"
    assert any("tiny-harness" in line for line in said)
    said.clear()
    assert environment(tmp_path / "home", ("-r", str(locked)), on_progress=said.append) == programs
    assert installed(tmp_path / "home", locked) == programs
    assert said == []


def test_two_that_want_the_same_make_it_once(tmp_path: Path, locked: Path) -> None:
    argv = [sys.executable, "-m", environments.__name__, str(tmp_path / "home"), "-r", str(locked)]
    both = [subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sum("tiny-harness" in text for text in said) == 1


def test_one_that_was_left_half_made_is_made_again(tmp_path: Path, locked: Path) -> None:
    programs = environment(tmp_path / "home", locked)
    (programs.parent / ".complete").unlink()
    (programs / "tiny-harness").unlink()
    assert installed(tmp_path / "home", locked) is None
    assert (environment(tmp_path / "home", locked) / "tiny-harness").exists()


def test_another_lock_is_another_environment(locked: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.txt"
    other.write_text(locked.read_text() + "# more\n")
    assert environment_digest(locked) != environment_digest(other)
    same = tmp_path / "same.txt"
    same.write_bytes(locked.read_bytes())
    assert environment_digest(locked) == environment_digest(same)


def test_a_package_that_is_not_the_locked_one_is_refused(tmp_path: Path, locked: Path) -> None:
    locked.write_text(locked.read_text().partition("sha256:")[0] + f"sha256:{0:064x}\n")
    with pytest.raises(EngineError, match=r"(?i)hash mismatch") as caught:
        environment(tmp_path / "home", locked)
    assert "not the one that was locked" in str(caught.value)
    assert installed(tmp_path / "home", locked) is None


def test_a_file_with_hashes_lets_nothing_in_without(tmp_path: Path, locked: Path, wheel: Path) -> None:
    locked.write_text(locked.read_text() + f"other @ {wheel.as_uri()}\n")
    with pytest.raises(EngineError, match="hash"):
        environment(tmp_path / "home", locked)


def test_a_package_without_hashes_may_stand_beside_a_locked_file(tmp_path: Path, locked: Path, wheel: Path) -> None:
    words = ("--no-deps", "-r", str(locked), str(wheel))
    assert (environment(tmp_path / "home", words) / "tiny-harness").exists()


def test_no_network_is_told_plainly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UV_OFFLINE", "1")
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "cache"))
    with pytest.raises(EngineError, match="cannot make the environment") as caught:
        environment(tmp_path / "home", ["no-such-harness==1.0"])
    assert "no-such-harness" in str(caught.value)
    assert "the network" in str(caught.value)


def test_a_requirements_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.txt"):
        environment(tmp_path / "home", tmp_path / "nowhere.txt")


def test_no_uv_is_told_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uv", None)
    with pytest.raises(EngineError, match="cannot find uv") as caught:
        find_uv({"PATH": ""})
    assert "pip install 'nel-action[process]'" in str(caught.value)


@pytest.mark.parametrize(("words", "hashed"), [((), False), (("package==1",), False), (("--no-deps",), False)])
def test_hashes_are_asked_for_only_where_all_have_them(words: Sequence[str], hashed: bool) -> None:  # noqa: FBT001
    assert environments._hashed(words) is hashed


def test_the_installer_sees_none_of_our_secrets() -> None:
    environ = {"PATH": "/bin", "UV_INDEX_URL": "x", "API_KEY": "secret", "GITHUB_TOKEN": "secret"}
    assert environments._installer_environ(environ) == {"PATH": "/bin", "UV_INDEX_URL": "x"}
