"""Composition without Hydra: the result equals Hydra's, or the file is declined."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from nel_action.errors import SpecError
from nel_action.spec.composition import DeclinedError, compose_plain, compose_with_hydra
from nel_action.spec.defaults import GROUPS, read_defaults
from nel_action.spec.overrides import parse_overrides
from nel_action.spec.source_positions import Document

pytestmark = pytest.mark.slow

OPTIONS = {
    group: sorted(
        path.relative_to(GROUPS / group).with_suffix("").as_posix() for path in (GROUPS / group).rglob("*.yaml")
    )
    for group in ("execution", "deployment")
}
KEYS = st.sampled_from(["a", "b", "type", "output_dir", "port", "env_vars", "x-y", "???"])
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-10, 10_000),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from(["", "text", "???", "1e5", "10:30:00", "2026-01-01", "${execution.type}", "a${deployment.type}b"]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
BODY = st.dictionaries(st.sampled_from(["execution", "deployment", "evaluation", "target", "gate"]), VALUES, max_size=4)
DEFAULTS = st.tuples(
    st.sampled_from(OPTIONS["execution"]), st.sampled_from(OPTIONS["deployment"]), st.permutations(range(3))
).map(lambda drawn: [[{"execution": drawn[0]}, {"deployment": drawn[1]}, "_self_"][index] for index in drawn[2]])
OVERRIDES = st.lists(
    st.builds(
        "{}{}={}".format,
        st.sampled_from(["", "+", "++"]),
        st.sampled_from(["execution.output_dir", "deployment.port", "a.b", "evaluation.x", "gate", "deployment"]),
        st.one_of(
            st.sampled_from(["vllm", "none", "true", "NULL", "False", "", "nan", "a:b", "/x/y.z", "http://h:80/v1"]),
            st.sampled_from(
                ["1", "-1", "007", "1.5", "1e3", ".5", "1_000", "a,b", "[1,2]", "{a: 1}", "'q'", "a b", "a:"]
            ),
        ),
    )
    | st.sampled_from(["~deployment.port", "~a", "~execution", "deployment=sglang", "execution=lepton/default"]),
    max_size=3,
)


def compose_both_ways(file: Path, overrides: list[str]) -> tuple[Any, Any]:
    """Compose a file without and with Hydra; return the error if Hydra refuses it."""
    document = Document.read(file)
    entries = read_defaults(document, (file.parent, GROUPS))
    parsed = parse_overrides(overrides)
    plain, _ = compose_plain(document, entries, parsed)
    try:
        return plain, compose_with_hydra(document, parsed)
    except SpecError as error:
        return plain, error


@given(body=BODY, defaults=DEFAULTS, overrides=OVERRIDES)
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_compose_plain_equals_hydra_or_declines(
    tmp_path: Path, body: dict[str, Any], defaults: list[Any], overrides: list[str]
) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text(yaml.safe_dump({"defaults": defaults, **body}, sort_keys=False))
    try:
        plain, hydra = compose_both_ways(file, overrides)
    except DeclinedError:
        event("declined")
        return
    assert plain == hydra


@pytest.mark.parametrize("deployment", OPTIONS["deployment"])
@pytest.mark.parametrize("execution", OPTIONS["execution"])
def test_compose_plain_equals_hydra_for_all_pairs_of_groups(tmp_path: Path, execution: str, deployment: str) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text(
        f"defaults: [execution: {execution}, deployment: {deployment}, _self_]\n"
        "deployment: {port: 81, env_vars: {A: lit:b}}\n"
        "evaluation: {tasks: [{name: gsm8k}]}\n"
    )
    plain, hydra = compose_both_ways(file, ["deployment.port=82", "+evaluation.params.seed=3", "++gate.baseline=main"])
    assert plain == hydra
    assert plain["deployment"]["port"] == 82


@pytest.mark.parametrize(
    ("text", "overrides"),
    [
        ("# @package _global_\na: 1\n", []),
        ("hydra: {job: {name: x}}\n", []),
        ("defaults: [deployment/vllm@auxiliary_deployments.judge, _self_]\n", []),
        ("defaults: [optional deployment: vllm, _self_]\n", []),
        ("a: 1\n", ["a=[1,2]"]),
        ("a: 1\n", ["a='quoted'"]),
        ("a: 1\n", ["a=1e5"]),
        ("a: 1\n", ["b=1"]),
        ("a: {b: 1}\n", ["a=1"]),
        ("a: 1\n", ["~b"]),
        ("a: 1\n", ["a.b=1"]),
    ],
)
def test_compose_plain_declines_unsupported_syntax(tmp_path: Path, text: str, overrides: list[str]) -> None:
    file = tmp_path / "spec.yaml"
    file.write_text(text)
    with pytest.raises(DeclinedError):
        compose_both_ways(file, overrides)


def test_compose_plain_declines_own_groups(tmp_path: Path) -> None:
    (tmp_path / "execution").mkdir()
    (tmp_path / "execution" / "local.yaml").write_text("type: local\noutput_dir: mine\n")
    file = tmp_path / "spec.yaml"
    file.write_text("defaults: [execution: local, _self_]\n")
    with pytest.raises(DeclinedError):
        compose_both_ways(file, [])
