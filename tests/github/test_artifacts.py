"""Archives from elsewhere: what is taken out of them, and what never is."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import pytest
from tests.doubles.github.server import GitHubDouble

from nel_action.errors import ResultsError
from nel_action.github import artifacts
from nel_action.github.api import GitHubApi
from nel_action.github.artifacts import artifact_name, download, find_artifacts, unpack

REPOSITORY = "Codertocat/Hello-World"


def zipped(**files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


@pytest.mark.parametrize(
    ("check", "name"),
    [("Benchmark gate", "nel-action-benchmark-gate"), ("é/..\\:*", "nel-action-gate"), ("A  b", "nel-action-a-b")],
)
def test_names_are_fit_for_artifacts(check: str, name: str) -> None:
    assert artifact_name(check) == name


def test_known_files_come_out_and_others_stay(tmp_path: Path) -> None:
    data = zipped(**{"results.json": b"{}", "samples/gsm8k.jsonl.gz": b"x", "logs/evil.sh": b"rm", "x.json": b"y"})
    unpack(data, tmp_path / "out")
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    assert found == {"out/results.json", "out/samples/gsm8k.jsonl.gz"}


@pytest.mark.parametrize(
    "name", ["../results.json", "/root/results.json", "samples/../../x.jsonl.gz", "samples//x.jsonl.gz"]
)
def test_no_name_leads_outside(tmp_path: Path, name: str) -> None:
    unpack(zipped(**{"results.json": b"{}", name: b"evil"}), tmp_path / "out")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["results.json"]


def test_a_link_in_an_archive_is_only_its_text(tmp_path: Path) -> None:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        link = zipfile.ZipInfo("results.json")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    unpack(out.getvalue(), tmp_path)
    assert not (tmp_path / "results.json").is_symlink()
    assert (tmp_path / "results.json").read_text() == "/etc/passwd"


def test_a_bomb_is_stopped_while_it_unfolds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(artifacts, "CONTENT_LIMIT", 1_000_000)
    with pytest.raises(ResultsError, match="unpacks to more"):
        unpack(zipped(**{"results.json": b"0" * 50_000_000}), tmp_path)
    assert (tmp_path / "results.json").stat().st_size <= 1_000_000


def test_thousands_of_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="2001 files"):
        unpack(zipped(**{f"f{number}": b"" for number in range(2001)}), tmp_path)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 cut", zipped(**{"other.json": b"{}"})])
def test_no_archive_and_no_results_are_errors(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(ResultsError):
        unpack(data, tmp_path)


def test_a_cut_archive_is_an_error(tmp_path: Path) -> None:
    data = bytearray(zipped(**{"results.json": b"abc" * 1000}))
    data[60] ^= 0xFF
    with pytest.raises((ResultsError, zipfile.BadZipFile)):
        unpack(bytes(data), tmp_path)


def test_expired_ones_and_forks_are_told_apart(api: GitHubApi, hub: GitHubDouble, tmp_path: Path) -> None:
    hub.store.add_artifact(1, "gate", b"", expired=True)
    fork = hub.store.add_artifact(2, "gate", b"")
    own = hub.store.add_artifact(3, "gate", zipped(**{"results.json": b"{}"}))
    for number, home in ((fork, 9), (own, 5)):
        hub.store.artifacts[number]["workflow_run"] |= {
            "repository_id": 5,
            "head_repository_id": home,
            "head_branch": "main",
            "head_sha": "a",
        }
    found = list(find_artifacts(api, REPOSITORY, "gate"))
    assert [(one.id, one.own, one.branch) for one in found] == [(own, True, "main"), (fork, False, "main")]
    assert (download(api, REPOSITORY, found[0], tmp_path) / "results.json").read_bytes() == b"{}"
    assert [one.id for one in find_artifacts(api, REPOSITORY, "gate", run_id=2)] == [fork]
