"""Loading of specs: composition, overrides, source positions, interpolation, old keys."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path

import pytest
import yaml

from nel_action.errors import SpecError
from nel_action.model.task import EndpointType
from nel_action.spec.compose import LoadedSpec, load_spec
from nel_action.spec.defaults import GROUPS
from nel_action.spec.deployment import NoDeployment, VllmDeployment
from nel_action.spec.execution import LocalExecution

SPEC = """\
defaults: [execution: local, deployment: none, _self_]
target:
  api_endpoint:
    model_id: m
    url: http://127.0.0.1:8000/v1/chat/completions
execution: {output_dir: out}
evaluation:
  tasks:
    - name: gsm8k
    - name: lm-evaluation-harness.ifeval
      endpoint_type: chat
"""


def load(tmp_path: Path, text: str = SPEC, overrides: Sequence[str] = (), name: str = "s.yaml") -> LoadedSpec:
    (tmp_path / name).write_text(text)
    return load_spec(tmp_path / name, overrides=overrides, environ={"USER": "me", "SPACE": "a b"})


def test_file_is_composed_with_its_groups(tmp_path: Path) -> None:
    loaded = load(tmp_path)
    assert loaded.spec.target.api_endpoint.model_id == "m"
    assert isinstance(loaded.spec.execution, LocalExecution)
    assert loaded.spec.execution.output_dir == "out"
    assert isinstance(loaded.spec.deployment, NoDeployment)
    assert loaded.spec.evaluation.tasks[1].endpoint_type is EndpointType.CHAT
    assert loaded.source == tmp_path / "s.yaml"
    assert loaded.base_dir == tmp_path
    assert not loaded.warnings


def test_file_without_defaults_list_has_local_execution_and_no_deployment(tmp_path: Path) -> None:
    loaded = load(tmp_path, "evaluation: {tasks: [{name: gsm8k}]}\n")
    assert isinstance(loaded.spec.execution, LocalExecution)
    assert isinstance(loaded.spec.deployment, NoDeployment)
    assert loaded.resolved == {"evaluation": {"tasks": [{"name": "gsm8k"}]}}


def test_digest_depends_on_resolved_spec_only(tmp_path: Path) -> None:
    loaded = load(tmp_path)
    canonical = json.dumps(loaded.resolved, sort_keys=True, separators=(",", ":"))
    assert loaded.digest == sha256(canonical.encode()).hexdigest()
    assert load(tmp_path, "# a comment\n" + SPEC).digest == loaded.digest
    assert load(tmp_path, overrides=["execution.salt=x"]).digest != loaded.digest


@pytest.mark.parametrize("deployment", ["none", "vllm", "vllm_ray", "generic"])
def test_resolved_spec_loads_to_the_same_spec(tmp_path: Path, deployment: str) -> None:
    text = f"""\
defaults: [execution: lepton/default, deployment: {deployment}, _self_]
execution: {{output_dir: "out/${{oc.env:USER}}", mode: null}}
evaluation:
  overrides: {{config.params.limit_samples: 3}}
  tasks: [{{name: a, env_vars: {{T: HF_TOKEN}}}}]
"""
    if deployment != "none":
        text += "deployment: {served_model_name: m, command: serve --port 1, hf_model_handle: a/b}\n"
    text = text.replace(", mode: null", "")
    first = load(tmp_path, text)
    second = load(tmp_path, yaml.safe_dump(first.resolved))
    assert second.resolved == first.resolved
    assert second.digest == first.digest
    assert not second.warnings


@pytest.mark.parametrize(
    ("override", "loc", "expected"),
    [
        ("execution.output_dir=x", ("execution", "output_dir"), "x"),
        ("execution.parallelism=4", ("execution", "parallelism"), 4),
        ("+execution.parallelism=4", ("execution", "parallelism"), 4),
        ("++evaluation.params.temperature=0.5", ("evaluation", "params", "temperature"), 0.5),
        ("evaluation.params.extra={a: [1, x]}", ("evaluation", "params", "extra"), {"a": [1, "x"]}),
        ("name='two words'", ("name",), "two words"),
        ("evaluation.tasks.gsm8k.params.seed=7", ("evaluation", "tasks", 0, "params", "seed"), 7),
        ("+evaluation.tasks.ifeval.params.seed=7", ("evaluation", "tasks", 1, "params", "seed"), 7),
        ("evaluation.tasks.lm-evaluation-harness.ifeval.metric=x", ("evaluation", "tasks", 1, "metric"), "x"),
        ("evaluation.tasks.1.metric=x", ("evaluation", "tasks", 1, "metric"), "x"),
        (
            "+config.params.limit_samples=10",
            ("evaluation", "nemo_evaluator_config", "config", "params", "limit_samples"),
            10,
        ),
    ],
)
def test_override_sets_value_and_is_its_source_position(
    tmp_path: Path, override: str, loc: tuple[str | int, ...], expected: object
) -> None:
    loaded = load(tmp_path, SPEC + "name: n\n" if override.startswith("name") else SPEC, [override])
    value: object = loaded.resolved
    for part in loc:
        assert isinstance(value, dict | list)
        value = value[part]  # type: ignore[index]
    assert value == expected
    assert str(loaded.locate(loc)) == f"-o {override.lstrip('+').split('=')[0]}"


def test_override_deletes_key_or_task(tmp_path: Path) -> None:
    loaded = load(tmp_path, overrides=["~execution.output_dir", "~evaluation.tasks.gsm8k"])
    assert loaded.spec.execution.output_dir == "runs"
    assert [task.name for task in loaded.spec.evaluation.tasks] == ["lm-evaluation-harness.ifeval"]


def test_override_chooses_group(tmp_path: Path) -> None:
    loaded = load(tmp_path, overrides=["deployment=vllm", "deployment.served_model_name=m"])
    assert isinstance(loaded.spec.deployment, VllmDeployment)
    assert loaded.spec.deployment.tensor_parallel_size == 8


def test_locate_finds_keys_of_file_and_group_and_parents(tmp_path: Path) -> None:
    loaded = load(tmp_path)
    file = tmp_path / "s.yaml"
    assert str(loaded.locate(("evaluation", "tasks", 1, "endpoint_type"))) == f"{file}:11:7"
    assert str(loaded.locate(("evaluation", "tasks", 1, "metric"))) == f"{file}:10:7"
    assert str(loaded.locate(("execution", "output_dir"))) == f"{file}:6:13"
    assert str(loaded.locate(("execution", "extra_docker_args"))) == f"{GROUPS / 'execution' / 'local.yaml'}:3:1"
    assert str(loaded.locate(("gate",))) == f"{file}"


def test_variables_are_read_from_given_environment(tmp_path: Path) -> None:
    text = SPEC + 'name: "${oc.env:SPACE} ${execution.output_dir}"\n'
    assert load(tmp_path, text).spec.name == "a b out"
    with_default = SPEC + "name: ${oc.env:NOT_THERE,5}\n"
    assert load(tmp_path, with_default).spec.name == "5"
    with_function = SPEC + "name: ${oc.select:execution.nothing,fallback}\n"
    assert load(tmp_path, with_function).spec.name == "fallback"


def test_own_groups_and_config_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "execution").mkdir()
    (tmp_path / "execution" / "mine.yaml").write_text("defaults: [local, _self_]\noutput_dir: other\n")
    (tmp_path / "gate.yaml").write_text("defaults: [execution: mine, _self_]\nevaluation: {tasks: [{name: a}]}\n")
    loaded = load_spec(config_dir=tmp_path, config_name="gate")
    assert loaded.spec.execution.output_dir == "other"
    assert str(loaded.locate(("execution", "output_dir"))) == f"{tmp_path}/execution/mine.yaml:2:1"
    monkeypatch.chdir(tmp_path)
    assert load_spec(config_name="gate.yaml").resolved == loaded.resolved


def test_packaged_default_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    loaded = load_spec(
        config_name="default",
        overrides=[
            "target.api_endpoint.url=http://127.0.0.1:1/v1",
            "target.api_endpoint.model_id=m",
            "evaluation.tasks=[{name: gsm8k}]",
        ],
    )
    assert loaded.spec.evaluation.tasks[0].name == "gsm8k"
    assert loaded.base_dir == tmp_path


@pytest.mark.parametrize("name", ["s.yml", "a.b.yaml", "with space.yaml", "quo'te\".yaml", "s"])
def test_hydra_composes_files_with_any_name(tmp_path: Path, name: str) -> None:
    folder = tmp_path / 'odd, [folder] "x"'
    folder.mkdir()
    loaded = load(folder, SPEC.replace("execution: local", "optional execution: local"), name=name)
    assert loaded.spec.execution.output_dir == "out"


def test_loading_restores_environment_and_hydra_state(tmp_path: Path) -> None:
    from hydra.core.global_hydra import GlobalHydra
    from omegaconf import OmegaConf

    before = dict(os.environ)
    load(tmp_path, SPEC + "name: ${oc.env:NOT_THERE,5}\n", ["execution.salt='q'"])
    assert not GlobalHydra.instance().is_initialized()
    assert dict(os.environ) == before
    os.environ["NEL_ACTION_TEST_ONLY"] = "x"
    try:
        assert OmegaConf.create({"a": "${oc.env:NEL_ACTION_TEST_ONLY}"}).a == "x"
    finally:
        del os.environ["NEL_ACTION_TEST_ONLY"]


@pytest.mark.parametrize(
    ("execution", "expected"),
    [("{mode: parallel}", 2), ("{mode: sequential}", 1), ("{mode: parallel, parallelism: 7}", 7), ("{}", 1)],
)
def test_mode_of_launcher_is_converted_to_parallelism(tmp_path: Path, execution: str, expected: int) -> None:
    loaded = load(tmp_path, SPEC.replace("{output_dir: out}", execution))
    assert loaded.spec.execution.parallelism == expected
    assert "mode" not in loaded.resolved["execution"]


def test_yaml_aliases_are_independent_after_loading(tmp_path: Path) -> None:
    text = "evaluation: {tasks: [&a {name: a, overrides: {config.params.seed: 1}}, {<<: *a, name: b}]}\n"
    loaded = load(tmp_path, text, ["evaluation.tasks.a.nemo_evaluator_config.config.params.seed=2"])
    seeds = [task.nemo_evaluator_config["config"]["params"]["seed"] for task in loaded.spec.evaluation.tasks]
    assert seeds == [2, 1]


JUDGE = SPEC.replace("deployment: none,", "deployment: none, deployment@auxiliary_deployments.judge: vllm,")


@pytest.mark.parametrize(
    ("text", "overrides"),
    [
        (JUDGE + "auxiliary_deployments: {judge: {type: none}}\n", ()),
        (JUDGE + "auxiliary_deployments: {judge: {type: none, served_model_name: m, image: i, tensr: 1}}\n", ()),
        (JUDGE, ("auxiliary_deployments.judge.type=none",)),
        (SPEC + "auxiliary_deployments: {judge: {type: none, command: [serve], port: '${nowhere}'}}\n", ()),
    ],
)
def test_auxiliary_server_of_type_none_is_disabled(tmp_path: Path, text: str, overrides: Sequence[str]) -> None:
    loaded = load(tmp_path, text, overrides)
    assert loaded.resolved["auxiliary_deployments"] == {"judge": {"type": "none"}}
    assert isinstance(loaded.spec.auxiliary_deployments["judge"], NoDeployment)


@pytest.mark.parametrize("overrides", [(), ("deployment.type=none",)])
def test_deployment_of_type_none_loses_the_keys_of_its_group(tmp_path: Path, overrides: Sequence[str]) -> None:
    text = SPEC.replace("deployment: none", "deployment: vllm") + ("" if overrides else "deployment: {type: none}\n")
    assert load(tmp_path, text, overrides).resolved["deployment"] == {"type": "none"}
    with pytest.raises(SpecError, match=r"'image' has no effect if deployment\.type is none"):
        load(tmp_path, text, ("deployment.type=none", "deployment.image=own"))


def test_evaluation_may_be_a_list_of_tasks(tmp_path: Path) -> None:
    text = SPEC.replace("  tasks:\n", "")
    loaded = load(tmp_path, text, ("evaluation.tasks.gsm8k.params.limit_samples=5",))
    assert [task.name for task in loaded.spec.evaluation.tasks] == ["gsm8k", "lm-evaluation-harness.ifeval"]
    assert loaded.spec.evaluation.tasks[0].params.limit_samples == 5
    (warning,) = loaded.warnings
    assert str(warning).startswith(f"{tmp_path / 's.yaml'}:7:1: 'evaluation' is a list of tasks; they belong below")
    assert str(loaded.locate(("evaluation", "tasks", 1, "name"))) == f"{tmp_path / 's.yaml'}:9:7"
    override = loaded.locate(("evaluation", "tasks", 0, "params", "limit_samples"))
    assert str(override) == "-o evaluation.tasks.gsm8k.params.limit_samples"


def test_mistakes_in_a_list_of_tasks_have_their_positions(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"s\.yaml:8:21: unknown key 'harnes'"):
        load(tmp_path, SPEC.replace("  tasks:\n", "").replace("name: gsm8k", "{name: gsm8k, harnes: x}"))
