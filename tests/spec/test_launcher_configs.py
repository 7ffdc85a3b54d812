"""NeMo Evaluator Launcher's example configs, rewritten key by key, and its old keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from nel_action.errors import SpecError
from nel_action.model.env_ref import EnvRef
from nel_action.spec.compose import LoadedSpec, load_spec
from nel_action.spec.deployment import ServedDeployment
from nel_action.spec.nested import get

pytestmark = pytest.mark.slow

FOLDER = Path(__file__).parent / "launcher"
TODAY = sorted(FOLDER.glob("*.yaml"))
OLD = sorted((FOLDER / "old").glob("*.yaml"))
WARNED = {
    "local_auto_export": 1,
    "local_extra_params": 1,
    "local_nemotron-3-super-120b-a12b": 3,
    "local_nemotron-3-super-120b-a12b_low_budget": 1,
    "local_safety": 1,
    "slurm_sglang_auto_export": 1,
}
"""Examples of the launcher with old keys, and the number of these keys."""


def load_filled(file: Path) -> LoadedSpec:
    """Load an example with values for `???` given on the command line."""
    overrides: list[str] = []
    try:
        return load_spec(file, environ={"USER": "me"})
    except SpecError as error:
        for problem in error.problems:
            key, _, rest = problem.message.partition(" ")
            assert rest == "has no value yet (???)"
            assert problem.location is not None
            assert problem.location.line is not None
            value = "/shared/results" if key.endswith("output_dir") else "http://127.0.0.1:1"
            overrides.append(f"{key.replace('[', '.').replace(']', '')}={value}")
    return load_spec(file, overrides=overrides, environ={"USER": "me"})


@pytest.mark.parametrize("file", TODAY, ids=lambda file: file.stem)
def test_example_loads(file: Path) -> None:
    loaded = load_filled(file)
    assert len(loaded.warnings) == WARNED.get(file.stem, 0), [str(warning) for warning in loaded.warnings]
    assert loaded.spec.evaluation.tasks
    assert loaded.spec.execution.type in file.stem or file.stem.startswith(("nemofw", "local"))


@pytest.mark.parametrize("file", TODAY, ids=lambda file: file.stem)
def test_served_example_passes_checks_of_its_server(file: Path) -> None:
    from nel_action.model_servers.registry import server_type

    deployment = load_filled(file).spec.deployment
    if isinstance(deployment, ServedDeployment):
        assert list(server_type(deployment.type).check(deployment)) == []


def test_servers_of_one_group_are_independent(tmp_path: Path) -> None:
    loaded = load_filled(FOLDER / "slurm_vllm_auxiliary_judge.yaml")
    judge = loaded.spec.auxiliary_deployments["judge"]
    assert isinstance(judge, ServedDeployment)
    assert isinstance(loaded.spec.deployment, ServedDeployment)
    assert (judge.port, loaded.spec.deployment.port) == (8001, 8000)
    assert judge.hf_model_handle != loaded.spec.deployment.hf_model_handle
    assert getattr(judge, "base_command", None) is None
    text = (FOLDER / "slurm_vllm_auxiliary_judge.yaml").read_text().replace("port: 8001", "prot: 8001")
    (tmp_path / "s.yaml").write_text(text.replace("???", "/x"))
    with pytest.raises(SpecError, match=r"unknown key 'prot' in auxiliary_deployments.judge; did you mean 'port'"):
        load_spec(tmp_path / "s.yaml", environ={"USER": "me"})


def test_command_with_references_is_interpolated() -> None:
    deployment = load_filled(FOLDER / "slurm_vllm_multinode_dp.yaml").spec.deployment
    assert isinstance(deployment, ServedDeployment)
    assert "--data-parallel-size 16 --data-parallel-size-local 8" in str(deployment.command)
    assert "$SLURM_PROCID" in str(deployment.command)


@pytest.mark.parametrize("file", OLD, ids=lambda file: file.stem)
def test_old_keys_are_accepted_with_located_warnings(file: Path) -> None:
    loaded = load_spec(file, environ={"USER": "me", "HF_TOKEN": "secret-value"})
    assert loaded.warnings
    lines = file.read_text().splitlines()
    for warning in loaded.warnings:
        assert warning.location is not None
        assert warning.location.line is not None
        key = warning.message.split("'")[1].rpartition(".")[2] if "'" in warning.message else ""
        assert key in lines[warning.location.line - 1]
    assert "secret-value" not in str(loaded.resolved)


@pytest.mark.parametrize(
    ("name", "loc", "expected"),
    [
        ("0.1.0", ("evaluation", "nemo_evaluator_config", "config", "params"),
         {"request_timeout": 3600, "limit_samples": 10}),
        ("0.1.0", ("evaluation", "nemo_evaluator_config", "target", "api_endpoint", "adapter_config"),
         {"use_reasoning": False}),
        ("0.1.0", ("evaluation", "tasks", 0, "nemo_evaluator_config", "config", "params"),
         {"limit_samples": 5, "extra": {"n_samples": 2}}),
        ("0.1.0", ("evaluation", "tasks", 0, "env_vars"), {"HF_TOKEN": "host:HF_TOKEN_FOR_GPQA_DIAMOND"}),
        ("0.1.0", ("export", "wandb", "project"), "nightly"),
        ("0.1.0", ("export", "mlflow"),
         {"tracking_uri": "http://127.0.0.1:5000", "copy_artifacts": True, "copy_logs": False}),
        ("0.1.0", ("execution", "auto_export"), {"destinations": ["wandb", "mlflow"]}),
        ("0.1.19", ("deployment", "env_vars"), {"HF_TOKEN": "host:HF_TOKEN", "HF_DATASETS_OFFLINE": "lit:0"}),
        ("0.1.19", ("evaluation", "env_vars"), {"JUDGE_API_KEY": "host:JUDGE_API_KEY"}),
        ("0.1.19", ("env_vars",), {"MLFLOW_TRACKING_URI": "host:MLFLOW_TRACKING_URI", "PATH": "lit:/opt/bin:/usr/bin"}),
        ("0.1.19", ("evaluation", "nemo_evaluator_config"),
         {"config": {"params": {"request_timeout": 3600}},
          "target": {"api_endpoint": {"adapter_config": {"use_reasoning": True}}}}),
        ("0.1.82", ("evaluation", "tasks", 0),
         {"name": "ifeval", "nemo_evaluator_config": {"config": {"params": {"extra": {"n_samples": 3}}}},
          "env_vars": {"JUDGE_API_KEY": "host:JUDGE_API_KEY"}}),
        ("0.1.82", ("evaluation", "tasks", 1, "nemo_evaluator_config"),
         {"config": {"params": {"seed": 1}}, "target": {"api_endpoint": {"adapter_config": {"use_caching": True}}}}),
        ("0.1.82", ("execution", "auto_export"), {"destinations": ["mlflow"]}),
        ("0.1.82", ("user_config_path",), None),
        ("0.1.82", ("execution", "env_vars"), None),
    ],
)  # fmt: skip
def test_old_keys_are_converted(name: str, loc: tuple[str | int, ...], expected: object) -> None:
    loaded = load_spec(FOLDER / "old" / f"{name}.yaml", environ={"USER": "me"})
    assert get(loaded.resolved, loc) == expected


def test_new_key_takes_precedence_and_old_key_keeps_its_position(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(
        "evaluation:\n"
        "  overrides: {config.params.limit_samples: 1, config.params.seed: 2}\n"
        "  nemo_evaluator_config: {config: {params: {limit_samples: 3}}}\n"
        "  tasks: [{name: a}]\n"
    )
    loaded = load_spec(file)
    assert get(loaded.resolved, ("evaluation", "nemo_evaluator_config", "config", "params")) == {
        "limit_samples": 3,
        "seed": 2,
    }
    seed = ("evaluation", "nemo_evaluator_config", "config", "params", "seed")
    assert str(loaded.locate(seed)) == f"{file}:2:47"


@pytest.mark.parametrize("style", ["+config.params.limit_samples=10", "config.params.limit_samples=10",
                                   "++evaluation.nemo_evaluator_config.config.params.limit_samples=10"])  # fmt: skip
def test_limit_overrides_of_all_notations(style: str) -> None:
    loaded = load_spec(config_dir=FOLDER, config_name="local_tools", overrides=[style])
    assert get(loaded.resolved, ("evaluation", "nemo_evaluator_config", "config", "params", "limit_samples")) == 10


def test_server_settings_with_chosen_none_are_ignored(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    server = "deployment: {served_model_name: acme/model-1}\nevaluation: {tasks: [{name: gsm8k}]}\n"
    file.write_text("defaults: [execution: local, deployment: none, _self_]\n" + server)
    loaded = load_spec(file)
    assert [str(warning) for warning in loaded.warnings] == [
        f"{file}:2:14: 'deployment.served_model_name' is ignored: deployment.type is none, so no server is started"
    ]
    file.write_text("defaults: [execution: local, _self_]\n" + server)
    with pytest.raises(SpecError, match="'type' is missing in deployment"):
        load_spec(file)


@pytest.mark.parametrize(
    ("written", "reference"),
    [("NAME", "host:NAME"), ("$host:NAME", "host:NAME"), ("$runtime:NAME", "runtime:NAME"), ("shm", "lit:shm"),
     ("7", "lit:7"), ("true", "lit:true")],
)  # fmt: skip
def test_earlier_notations_of_variables_are_accepted_with_a_warning(
    tmp_path: Path, written: str, reference: str
) -> None:
    file = tmp_path / "s.yaml"
    file.write_text(f"env_vars: {{A: {written}}}\nevaluation: {{tasks: [{{name: gsm8k}}]}}\n")
    loaded = load_spec(file)
    assert loaded.spec.env_vars == {"A": EnvRef.parse(reference)}
    assert f"write A: {reference}" in str(loaded.warnings[0])


def test_variables_of_local_executor_are_moved_to_top_level(tmp_path: Path) -> None:
    file = tmp_path / "s.yaml"
    file.write_text("execution: {env_vars: {A: '${oc.env:B}'}}\nevaluation: {tasks: [{name: gsm8k}]}\n")
    loaded = load_spec(file, environ={"B": "secret-value"})
    assert loaded.spec.env_vars == {"A": EnvRef.host("B")}
    assert "'execution.env_vars' is now 'env_vars'" in str(loaded.warnings[0])
