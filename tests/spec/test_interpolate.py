"""References to keys and variables: the short way gives what OmegaConf gives."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from nel_action.errors import Location
from nel_action.spec import interpolate as module
from nel_action.spec.interpolate import interpolate
from nel_action.spec.nested import Loc

ENVIRON = {"USER": "me", "EMPTY": "", "ODD": "a${b}", "GAP": "???"}
KEYS = st.sampled_from(["a", "b", "c-d", "e"])
PIECES = st.sampled_from(
    ["${a}", "${b}", "${a.b}", "${c-d.e}", "${e}", "${oc.env:USER}", "${oc.env:EMPTY}", "${oc.env:ODD}",
     "${oc.env:GAP}", "${oc.env:NOT_SET}", "${oc.env:NOT_SET,5}", "${oc.select:a,1}", "${.a}", "${a", "$", "text", " ",
     "\\", "{}", "???"]
)  # fmt: skip
LEAVES = (
    st.lists(PIECES, min_size=1, max_size=3).map("".join)
    | st.sampled_from([None, True, 3, 0.5, 1e-7])
    | st.lists(PIECES, max_size=2)
)
TREES = st.dictionaries(KEYS, LEAVES | st.dictionaries(KEYS, LEAVES, max_size=3), min_size=1, max_size=4)


def nowhere(loc: Loc) -> Location:
    return Location(Path("s.yaml"), len(loc))


@given(tree=TREES)
@settings(max_examples=300, deadline=None)
def test_the_short_way_gives_what_omegaconf_gives(tree: dict[str, Any]) -> None:
    short, long = copy.deepcopy(tree), copy.deepcopy(tree)
    asked = []

    def counted(*arguments: Any) -> Any:  # noqa: ANN401
        asked.append(1)
        return original(*arguments)

    original = module._with_omegaconf
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "_with_omegaconf", counted)
        told = interpolate(short, ENVIRON, nowhere)
        event("omegaconf" if asked else "short way")

        def declined(*_: object) -> None:
            raise module._DeclinedError

        patch.setattr(module, "_simple", declined)
        assert interpolate(long, ENVIRON, nowhere) == told
    assert short == long
    assert repr(short) == repr(long)


def test_every_failure_is_told_and_the_rest_is_resolved() -> None:
    data = {"a": "${nope}", "b": "${oc.env:NOT_SET}", "c": "${oc.env:USER}", "d": "x${c}", "e": "${oc.select:f,y}"}
    told = interpolate(data, ENVIRON, nowhere)
    assert [problem.message for problem in told] == [
        "the variable NOT_SET, which b asks for, is not set",
        "a refers to 'nope', which is not there",
    ]
    assert (data["c"], data["d"], data["e"]) == ("me", "xme", "y")


@pytest.mark.parametrize("name", ["HF_TOKEN", "MY_API_KEY", "APIKEY", "DB_PASSWORD", "secret", "AWS_CREDENTIALS"])
def test_no_secret_is_put_into_a_spec(name: str) -> None:
    environ: Mapping[str, str] = {name: "its value"}
    for text in (
        f"${{oc.env:{name}}}",
        f"${{oc.decode:${{oc.env:{name}}}}}",
        f"${{ oc.env : {name} }}",
        "${oc.env:${n}}",
    ):
        data = {"a": text, "n": name}
        [problem] = interpolate(data, environ, nowhere)
        assert name in problem.message
        assert data["a"] == text


@pytest.mark.parametrize("name", ["USER", "MAX_TOKENS", "MONKEY", "KEYBOARD", "TOKENIZER"])
def test_names_that_only_resemble_secrets_are_read(name: str) -> None:
    data = {"a": f"${{oc.env:{name}}}"}
    assert interpolate(data, {name: "x"}, nowhere) == []
    assert data == {"a": "x"}
