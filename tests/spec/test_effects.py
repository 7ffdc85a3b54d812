"""No key is ignored silently: the table of effects over the schema, the executors, the runtimes and the servers."""

from __future__ import annotations

import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import yaml

from nel_action.errors import SpecError
from nel_action.spec.classes import key_paths
from nel_action.spec.compose import load_spec
from nel_action.spec.effects import CARRIED, CONDITIONS, EFFECTS, row_of
from nel_action.spec.model import Spec

SERVER = {"type": "generic", "image": "server:1", "served_model_name": "m"}
VLLM = {"type": "vllm", "image": "server:1", "served_model_name": "m", "hf_model_handle": "acme/m"}
SLURM = {"type": "slurm", "hostname": "login", "account": "a", "output_dir": "/runs"}

SETUPS: dict[str, dict[str, Any]] = {
    "container": {"execution": {"type": "local"}},
    "process": {"execution": {"type": "local", "runtime": "process"}},
    "container, server": {"execution": {"type": "local"}, "deployment": SERVER},
    "container, server process": {"execution": {"type": "local"}, "deployment": {**SERVER, "runtime": "process"}},
    "process, server": {"execution": {"type": "local", "runtime": "process"}, "deployment": SERVER},
    "process, server container": {
        "execution": {"type": "local", "runtime": "process"},
        "deployment": {**SERVER, "runtime": "docker"},
    },
    "slurm": {"execution": SLURM},
    "slurm, server": {"execution": SLURM, "deployment": SERVER},
    "slurm none, server": {"execution": {**SLURM, "runtime": "none"}, "deployment": SERVER},
    "lepton": {"execution": {"type": "lepton"}},
    "lepton, server": {"execution": {"type": "lepton"}, "deployment": SERVER},
}
"""The combinations of executor, runtime and server; `server` has the harness's runtime, and a second one is a judge."""

LOCAL = {name for name in SETUPS if name.startswith(("container", "process"))}
SLURMS = {name for name in SETUPS if name.startswith("slurm")}
LEPTONS = {name for name in SETUPS if name.startswith("lepton")}
SERVERS = {name for name in SETUPS if "server" in name}
HARNESS_IN_CONTAINER = set(SETUPS) - {name for name in SETUPS if name.startswith(("process", "slurm none"))}
SERVER_IN_CONTAINER = {
    "container, server",
    "process, server container",
    "slurm, server",
    "lepton, server",
}
JUDGE_IN_CONTAINER = {"container, server", "container, server process", "slurm, server"}
CONTAINERS = HARNESS_IN_CONTAINER | SERVER_IN_CONTAINER | JUDGE_IN_CONTAINER

EXPECTED: dict[str, tuple[Any, set[str]]] = {
    "evaluation.tasks.*.container": ("x:1", HARNESS_IN_CONTAINER),
    "evaluation.tasks.*.requirements": ("r.txt", set(SETUPS) - HARNESS_IN_CONTAINER),
    "evaluation.tasks.*.dataset_mount_path": ("/d", HARNESS_IN_CONTAINER),
    "deployment.runtime": ("docker", LOCAL & SERVERS),
    "deployment.image": ("other:1", SERVER_IN_CONTAINER),
    "deployment.cache_path": ("cache", SERVER_IN_CONTAINER - LEPTONS),
    "deployment.lepton_config": ({"max_replicas": 2}, LEPTONS & SERVERS),
    "auxiliary_deployments.*.runtime": ("docker", LOCAL & SERVERS),
    "auxiliary_deployments.*.image": ("other:1", JUDGE_IN_CONTAINER),
    "auxiliary_deployments.*.cache_path": ("cache", JUDGE_IN_CONTAINER),
    "auxiliary_deployments.*.lepton_config": ({"max_replicas": 2}, set()),
    "execution.parallelism": (3, LOCAL | SLURMS),
    "execution.endpoint_readiness_timeout": (77, SERVERS - LEPTONS),
    "execution.network": ("mine", CONTAINERS & LOCAL),
    "execution.gpus": (1, (SERVER_IN_CONTAINER | JUDGE_IN_CONTAINER) & LOCAL),
    "execution.memory": ("8g", HARNESS_IN_CONTAINER & LOCAL),
    "execution.cpus": (2, HARNESS_IN_CONTAINER & LOCAL),
    "execution.shm_size": ("1g", CONTAINERS & LOCAL),
    "execution.pull": ("always", CONTAINERS & LOCAL),
    "execution.extra_docker_args": ("--rm", CONTAINERS & LOCAL),
    "execution.mounts.mount_home": (False, {"slurm", "slurm, server"}),
    "execution.mounts.evaluation": ({"/data": "/d"}, HARNESS_IN_CONTAINER - LEPTONS),
    "execution.mounts.deployment": ({"/data": "/d"}, SERVER_IN_CONTAINER - LEPTONS),
    "execution.mounts.auxiliary.*": ({"/data": "/d"}, JUDGE_IN_CONTAINER),
    "execution.runtime_args": (["-v"], {"slurm", "slurm, server"}),
    "execution.proxy": ({"image": "other:1"}, set()),
    "execution.num_instances": (1, SERVERS & SLURMS),
    "execution.deployment.n_tasks": (4, SERVERS & SLURMS),
    "execution.evaluation_tasks.timeout": (77, LEPTONS),
}
"""Row → a value, and the combinations in which the key has an effect."""

SLURM_ONLY = {"runtime_args", "proxy", "num_instances", "deployment"}
LOCAL_ONLY = {"network", "gpus", "memory", "cpus", "shm_size", "pull", "extra_docker_args"}


def exists(row: str, setup: str) -> bool:
    """Return whether the schema of a combination contains the key at all."""
    parts = row.split(".")
    if parts[0] in {"deployment", "auxiliary_deployments"}:
        return setup in SERVERS and not (parts[0] == "auxiliary_deployments" and setup in LEPTONS)
    if parts[0] == "execution":
        if parts[1] in SLURM_ONLY:
            return setup in SLURMS
        if parts[1] in LOCAL_ONLY:
            return setup in LOCAL
        if parts[1] == "mounts":
            return setup not in LEPTONS
        if parts[1] == "evaluation_tasks":
            return setup in LEPTONS
    return True


def build(setup: str, keys: dict[str, Any]) -> dict[str, Any]:
    """Return a spec of a combination with some keys."""
    spec = deepcopy(SETUPS[setup])
    spec["target"] = {"api_endpoint": {"model_id": "m"} | ({} if "deployment" in spec else {"url": "http://h/v1/chat"})}
    spec["evaluation"] = {"tasks": [{"name": "ifeval", "dataset_dir": "d"}]}
    if setup in SERVERS - LEPTONS:
        spec["auxiliary_deployments"] = {"judge": {"type": "generic", "served_model_name": "j"}}
    for row, value in keys.items():
        node: Any = spec
        path = [
            0 if part == "*" and name == "tasks" else part
            for name, part in zip(["", *row.split(".")], row.split("."), strict=False)
        ]
        path = ["judge" if part == "*" else part for part in path]
        for part in path[:-1]:
            node = node[part] if isinstance(part, int) else node.setdefault(part, {})
        node[path[-1]] = value
    return spec


def without_effect(folder: Path, spec: dict[str, Any]) -> set[str]:
    """Return the rows that loading reports, as errors with their lines or as warnings."""
    file = folder / "spec.yaml"
    file.write_text(yaml.safe_dump(spec))
    try:
        problems = load_spec(file).warnings
    except SpecError as error:
        problems = error.problems
    for problem in problems:
        assert re.match(rf"{re.escape(str(file))}:\d+:\d+: .* has no effect: ", str(problem)), problem
        assert problem.hint
    names = (problem.message.partition(" has no effect")[0] for problem in problems)
    return {
        row_of(tuple(int(part) if part.isdigit() else part for part in re.split(r"[.\[\]]+", name))) for name in names
    }


def test_every_key_has_a_row_and_every_row_is_a_key() -> None:
    paths = list(key_paths(Spec))
    assert [path for path in paths if not row_of(tuple(path.split(".")))] == []
    assert {name for names in EFFECTS.values() for name in names} == set(CONDITIONS)
    assert set(EFFECTS) >= CARRIED


def test_the_expectations_cover_every_row_with_conditions() -> None:
    rows = {row for row, names in EFFECTS.items() if names and names != ("generated command",)}
    assert rows - {"execution.mounts"} == set(EXPECTED)


@pytest.mark.parametrize("setup", SETUPS)
@pytest.mark.parametrize("carried", [False, True], ids=["errors", "warnings"])
def test_a_key_without_effect_is_reported_with_its_line(tmp_path: Path, setup: str, *, carried: bool) -> None:
    rows = {row: value for row, (value, _) in EXPECTED.items() if exists(row, setup) and (row in CARRIED) is carried}
    # NOTE: these change the combination itself.
    rows = {row: value for row, value in rows.items() if not (row.endswith("runtime") and setup in LOCAL)}
    rows = {row: value for row, value in rows.items() if value != 1 or row != "execution.num_instances"}
    expected = {row for row in rows if setup not in EXPECTED[row][1]}
    if setup in SERVERS and setup not in SERVER_IN_CONTAINER and not carried:
        expected.add("deployment.image")
    spec = build(setup, rows)
    if carried and setup in SERVERS and setup not in SERVER_IN_CONTAINER:
        del spec["deployment"]["image"]
    assert without_effect(tmp_path, spec) == expected


def test_settings_of_a_command_that_is_replaced_are_warnings_unless_it_refers_to_them(tmp_path: Path) -> None:
    server = VLLM | {"tensor_parallel_size": 2, "extra_args": "--a", "gpu_memory_utilization": 0.5}
    spec = build("container", {}) | {"deployment": server}
    del spec["target"]["api_endpoint"]["url"]
    assert without_effect(tmp_path, spec) == set()
    server["command"] = "serve ${deployment.extra_args} --tp ${deployment.tensor_parallel_size}"
    assert without_effect(tmp_path, spec) == {"deployment.gpu_memory_utilization"}


def test_defaults_and_values_of_packaged_groups_are_not_reported(tmp_path: Path) -> None:
    spec = build("process", {"execution.gpus": None, "execution.shm_size": "8g"})
    assert without_effect(tmp_path, spec) == set()
    file = tmp_path / "group.yaml"
    file.write_text(
        yaml.safe_dump(
            spec
            | {
                "defaults": [{"deployment": "vllm"}, "_self_"],
                "deployment": {"served_model_name": "m", "hf_model_handle": "a/m"},
                "target": {},
            }
        )
    )
    loaded = load_spec(file)
    assert not loaded.warnings
    (tmp_path / "resolved.yaml").write_text(yaml.safe_dump(loaded.resolved))
    assert not load_spec(tmp_path / "resolved.yaml").warnings


def test_a_balancer_has_an_effect_with_several_instances(tmp_path: Path) -> None:
    several = {"execution.num_instances": 2, "execution.num_nodes": 2}
    spec = build("slurm, server", {"execution.proxy": {"image": "other:1"}, **several})
    assert without_effect(tmp_path, spec) == set()
    assert without_effect(tmp_path, build("slurm", several)) == {"execution.num_instances"}


def test_the_time_limit_of_lepton_tasks_is_not_given_twice(tmp_path: Path) -> None:
    spec = build("lepton", {"execution.timeout": 9, "execution.evaluation_tasks.timeout": 77})
    assert without_effect(tmp_path, spec) == {"execution.evaluation_tasks.timeout"}
