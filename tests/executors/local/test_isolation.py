"""Settings that open the machine are refused; the list is the table in docs/security.md."""

from __future__ import annotations

import re
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.local_jobs import Bench, job

from nel_action.errors import ExitCode, SpecError, UsageError
from nel_action.executors.interface import ExecutorContext, Validating
from nel_action.executors.local.docker.isolation import ALLOW, WORDS, allowed, opening_mount
from nel_action.executors.local.docker.options import parse_docker_args
from nel_action.executors.registry import open_executor
from nel_action.lifecycle.prepare import prepare
from nel_action.spec.compose import LoadedSpec, load_spec

DOCUMENT = Path(__file__).parents[3] / "docs/security.md"


def listed() -> list[tuple[str, str]]:
    """Return word and setting of every entry of the document's table."""
    rows = re.findall(r"^\| `(\w+)` \| (`.*`) \|", DOCUMENT.read_text(encoding="utf-8"), re.MULTILINE)
    return [(word, setting) for word, cell in rows for setting in re.findall(r"`([^`]+: [^`]+)`", cell)]


ENTRIES = listed()


def write_spec(folder: Path, setting: str) -> Path:
    """Write a spec with one setting of the table, on a line of its own."""
    key, value = next(iter(yaml.safe_load(setting).items()))
    server = {"type": "vllm", "image": "registry.invalid/vllm:1", "served_model_name": "m", "checkpoint_path": "model"}
    spec: dict[str, Any] = {
        "target": {"api_endpoint": {"model_id": "m"}},
        "execution": {"type": "local"},
        "deployment": server,
        "auxiliary_deployments": {"judge": {"type": "generic", "image": "x:1", "served_model_name": "j"}},
        "evaluation": {"tasks": [{"name": "ifeval"}]},
    }
    if key in {"checkpoint_path", "cache_path"}:
        server[key] = value
    elif key == "dataset_dir":
        spec["evaluation"]["tasks"][0][key] = value
    else:
        spec["execution"][key] = value
    (folder / "model").mkdir()
    (folder / "spec.yaml").write_text(yaml.safe_dump(spec))
    return folder / "spec.yaml"


def problems(loaded: LoadedSpec, environ: dict[str, str]) -> list[str]:
    """Return the problems of a spec that the executor finds, one line each."""
    context = ExecutorContext(home=loaded.base_dir / "home", environ=environ, base_dir=loaded.base_dir)
    executor = open_executor(loaded.spec.execution, context)
    assert isinstance(executor, Validating)
    found = executor.validate(loaded.spec, loaded.locate)
    return [f"{problem.location}: {problem.message}; {problem.hint}" for problem in found]


def test_the_document_lists_settings_of_every_word() -> None:
    assert {word for word, _ in ENTRIES} == set(WORDS)
    assert len(ENTRIES) > 50


@pytest.mark.parametrize(("word", "setting"), ENTRIES)
def test_a_listed_setting_is_refused_unless_the_owner_of_the_runner_allows_it(
    tmp_path: Path, word: str, setting: str
) -> None:
    loaded = load_spec(write_spec(tmp_path, setting))
    (problem,) = [line for line in problems(loaded, {}) if "would give the job" in line]
    assert re.match(rf"{re.escape(str(tmp_path))}/spec.yaml:\d+:\d+: ", problem)
    assert f"{ALLOW}={word}" in problem
    others = ",".join(other for other in WORDS if other != word)
    assert any("would give the job" in line for line in problems(loaded, {ALLOW: others}))
    assert not any("would give the job" in line for line in problems(loaded, {ALLOW: "all"}))


def test_a_refused_setting_ends_with_exit_code_2_before_anything_is_read(tmp_path: Path) -> None:
    loaded = load_spec(write_spec(tmp_path, "dataset_dir: /"))
    with (
        pytest.raises(SpecError, match="would give the job") as caught,
        prepare(loaded, home=tmp_path / "home", environ={}, resolve=False),
    ):
        pass
    assert caught.value.exit_code is ExitCode.USAGE


def test_sizes_are_checked_with_their_lines(tmp_path: Path) -> None:
    loaded = load_spec(write_spec(tmp_path, "memory: lots"))
    (problem,) = problems(loaded, {})
    assert re.search(r"spec.yaml:\d+:3: execution.memory: 'lots' is not a size", problem)


def test_allow_rejects_unknown_words() -> None:
    assert allowed({ALLOW: "mounts devices"}) == {"mounts", "devices"}
    assert allowed({ALLOW: "all"}) == set(WORDS)
    with pytest.raises(UsageError, match="unknown word 'mount'"):
        allowed({ALLOW: "mount"})


def test_ordinary_paths_do_not_open_the_machine(tmp_path: Path) -> None:
    for path in (
        "/data",
        "/mnt/models",
        "/etc/ssl/certs",
        "/home/ci/data",
        "/srv",
        "/run/user/1000/data",
        str(tmp_path),
    ):
        assert opening_mount(path, {"HOME": "/home/ci"}) is None, path


def test_links_and_other_names_of_a_socket_are_recognised(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/run/docker.sock")
    (tmp_path / "root").symlink_to("/")
    (tmp_path / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "any"))
        for name in ("link", "root", "any"):
            assert opening_mount(str(tmp_path / name), {}) is not None, name
    moved = {"DOCKER_HOST": f"unix://{tmp_path}/deep/er/engine.sock"}
    assert opening_mount(str(tmp_path / "deep"), {}) is None
    assert opening_mount(str(tmp_path / "deep"), moved) is not None
    (tmp_path / "folder/docker.sock").touch()
    assert opening_mount(str(tmp_path / "folder"), {}) is not None


def test_the_store_of_other_jobs_is_not_mounted(tmp_path: Path) -> None:
    environ = {"NEL_ACTION_HOME": str(tmp_path / "home")}
    for name in ("home", "home/local", "home/local/nel-1-1/secrets.json", ""):
        assert opening_mount(str(tmp_path / name), environ) is not None, name
    assert opening_mount(str(tmp_path / "home-2"), environ) is None


def test_options_that_open_the_machine_are_passed_on_where_they_are_allowed() -> None:
    text = "--privileged --pid host --cap-add SYS_ADMIN --device /dev/fuse --security-opt a=b"
    expected = {
        "privileged": True,
        "pid_mode": "host",
        "cap_add": ["SYS_ADMIN"],
        "devices": ["/dev/fuse"],
        "security_opt": ["a=b"],
    }
    assert parse_docker_args(text, {ALLOW: "all"}) == expected


def test_a_data_set_that_becomes_a_link_is_examined_again(bench: Bench) -> None:
    from nel_action.executors.local.attempt import AttemptError, JobRecord
    from nel_action.executors.local.docker.run import spec_mounts
    from nel_action.spec.execution import LocalExecution

    record = JobRecord(
        job=job("one", "pass"),
        number=1,
        invocation="0" * 16,
        settings=LocalExecution(),
        base_dir=bench.root,
        submitted="",
    )
    (bench.root / "data").mkdir()
    assert spec_mounts(record, {"data": "/data"}, {})[0]["Source"] == str(bench.root / "data")
    (bench.root / "data").rmdir()
    (bench.root / "data").symlink_to("/")
    with pytest.raises(AttemptError, match="would give the job"):
        spec_mounts(record, {"data": "/data"}, {})
