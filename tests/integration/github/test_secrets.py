"""Known secrets in a whole run: in no form in anything that is shown, sent, kept or left behind."""

from __future__ import annotations

import base64
import gzip
import re
from pathlib import Path

import pytest
from tests.doubles.openai_server import Model, OpenAIServer
from tests.support.workplace import Done, Workplace

from nel_action.redaction import derived_forms

TARGET_KEY = 'sk-"tArget+/&%$key=1234567890'
SSH_KEY = """-----BEGIN OPENSSH PRIVATE KEY-----
bm90LWEta2V5LWJ1dC1hLXRlc3Qtd2l0aC1ub3RoaW5nLWluLWl0LTEyMzQ1Njc4OTAxMjM0NTY3
c2Vjb25kLWxpbmUtb2YtdGhlLXNhbWUtdGVzdC1rZXktd2l0aC1ub3RoaW5nLWluLWl0LTk4NzY1
-----END OPENSSH PRIVATE KEY-----
"""
SECRETS = {"MODEL_LOGIN": TARGET_KEY, "SLURM_SSH_KEY": SSH_KEY, "WANDB_API_KEY": "w4ndb-0123456789abcdef"}


def forms(hub_token: str) -> set[bytes]:
    values = [*SECRETS.values(), hub_token]
    return {form.encode() for value in values for form in derived_forms(value) if "PRIVATE KEY" not in form}


def masked(log: str) -> bytes:
    """Show a log as the runner does: commands swallowed, masked values hidden."""
    masks = [line.removeprefix("::add-mask::") for line in log.splitlines() if line.startswith("::add-mask::")]
    shown = "\n".join(line for line in log.splitlines() if not line.startswith("::add-mask::"))
    for mask in sorted(masks, key=len, reverse=True):
        shown = shown.replace(mask.replace("%25", "%"), "***")
    return shown.encode()


def everything(place: Workplace, done: Done) -> dict[str, bytes]:
    """Return all that anybody could see or find afterwards."""
    found = {"log": masked(done.log), "summary": done.summary.encode(), "outputs": repr(done.outputs).encode()}
    for number, seen in enumerate(place.hub.seen):
        found[f"request {number} {seen.target}"] = seen.body
        # NOTE: what a check keeps for a later process is packed; looked at from outside it could hold anything.
        for at, packed in enumerate(re.findall(rb"<!-- nel-action-state\\n([\w+/=\\]+?)\\n-->", seen.body)):
            state = gzip.decompress(base64.b64decode(packed.replace(b"\\n", b"")))
            found[f"state {at} of request {number}"] = state
    for path in place.root.rglob("*"):
        if path.is_file() and not path.is_symlink():
            data = path.read_bytes()
            found[str(path.relative_to(place.root))] = gzip.decompress(data) if path.suffix == ".gz" else data
    return found


@pytest.mark.parametrize("fails", ["", "3"])
@pytest.mark.parametrize("leak", ["", "MODEL_LOGIN"])
def test_no_secret_is_anywhere_in_any_form(place: Workplace, fails: str, leak: str) -> None:
    with OpenAIServer(Model(name="tiny"), api_key=TARGET_KEY) as server:
        place.target = server.url("chat")
        place.environ |= SECRETS
        endpoint = {"model_id": "tiny", "url": place.target, "api_key_name": "MODEL_LOGIN"}
        place.write_spec(
            {"arith": {"value": "0.8", "leak": leak, "fail": fails}},
            {"tasks": {"arith": {"min": 0.5}}},
            target={"api_endpoint": endpoint},
        )
        base = place.commit("base")
        head = place.commit("head")
        done = place.act("pull_request", place.pull_request(head, base))
    assert done.outputs["verdict"] == ("unmeasurable" if fails else "pass"), done.log
    # NOTE: what a benchmark itself prints lies in its own log where it ran; from there on it is hidden.
    raw = [*place.home.glob("local/nel-*/logs/*"), *place.work.glob("runs/*/arith/logs/*")] if leak else []
    own = {str(path.relative_to(place.root)) for path in raw}
    looked = {name: data for name, data in everything(place, done).items() if name not in own}
    assert any("/logs/" in name for name in looked)
    assert any(name.startswith("state ") and b"MODEL_LOGIN" in data for name, data in looked.items())
    assert not leak or any(b"***" in data for name, data in looked.items() if "/artifact/" in name)
    guilty = {name: form for name, data in looked.items() for form in forms(place.hub.token) if form in data}
    assert guilty == {}


def test_the_looking_would_find_one(place: Workplace, tmp_path: Path) -> None:
    (tmp_path / "x").write_text(f"key={TARGET_KEY}")
    done = Done(0, "", {}, "")
    assert any(form in data for data in everything(place, done).values() for form in forms("t0ken-of-the-workflow"))
