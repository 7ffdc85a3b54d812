"""Secrets do not occur in any form in the logs, requests, outputs and files of a run."""

from __future__ import annotations

import base64
import gzip
import re
from pathlib import Path

import pytest
from tests.doubles.openai_server import Model, OpenAIServer
from tests.support.workplace import ActionResult, Workplace

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
    """Return a log as the runner shows it, without commands and masked values."""
    masks = [line.removeprefix("::add-mask::") for line in log.splitlines() if line.startswith("::add-mask::")]
    shown = "\n".join(line for line in log.splitlines() if not line.startswith("::add-mask::"))
    for mask in sorted(masks, key=len, reverse=True):
        shown = shown.replace(mask.replace("%25", "%"), "***")
    return shown.encode()


def all_data(workplace: Workplace, result: ActionResult) -> dict[str, bytes]:
    """Return all logs, requests and files of a run."""
    data = {"log": masked(result.log), "summary": result.summary.encode(), "outputs": repr(result.outputs).encode()}
    for number, seen in enumerate(workplace.hub.seen):
        data[f"request {number} {seen.target}"] = seen.body
        # NOTE: the state in a check is compressed, so it is searched after decompression.
        for index, packed in enumerate(re.findall(rb"<!-- nel-action-state\\n([\w+/=\\]+?)\\n-->", seen.body)):
            state = gzip.decompress(base64.b64decode(packed.replace(b"\\n", b"")))
            data[f"state {index} of request {number}"] = state
    for path in workplace.root.rglob("*"):
        if path.is_file() and not path.is_symlink():
            content = path.read_bytes()
            data[str(path.relative_to(workplace.root))] = gzip.decompress(content) if path.suffix == ".gz" else content
    return data


@pytest.mark.parametrize("fails", ["", "3"])
@pytest.mark.parametrize("leak", ["", "MODEL_LOGIN"])
def test_secrets_occur_nowhere_in_any_form(workplace: Workplace, fails: str, leak: str) -> None:
    with OpenAIServer(Model(name="tiny"), api_key=TARGET_KEY) as server:
        workplace.target = server.url("chat")
        workplace.environ |= SECRETS
        endpoint = {"model_id": "tiny", "url": workplace.target, "api_key_name": "MODEL_LOGIN"}
        workplace.write_spec(
            {"arith": {"value": "0.8", "leak": leak, "fail": fails}},
            {"tasks": {"arith": {"min": 0.5}}},
            target={"api_endpoint": endpoint},
            gateway=not leak,  # NOTE: behind the gateway the harness has no key that it could print.
        )
        base = workplace.commit("base")
        head = workplace.commit("head")
        result = workplace.act("pull_request", workplace.pull_request(head, base))
    assert result.outputs["verdict"] == ("unmeasurable" if fails else "pass"), result.log
    # NOTE: a benchmark's own log on its machine contains what it prints; everything derived from it is redacted.
    raw = [*workplace.home.glob("local/nel-*/logs/*"), *workplace.work.glob("runs/*/arith/logs/*")] if leak else []
    local_logs = {str(path.relative_to(workplace.root)) for path in raw}
    searched = {name: data for name, data in all_data(workplace, result).items() if name not in local_logs}
    assert any("/logs/" in name for name in searched)
    assert any(name.startswith("state ") and b"MODEL_LOGIN" in data for name, data in searched.items())
    assert not leak or any(b"***" in data for name, data in searched.items() if "/artifact/" in name)
    leaks = {name: form for name, data in searched.items() for form in forms(workplace.hub.token) if form in data}
    assert leaks == {}


def test_search_detects_a_secret(workplace: Workplace, tmp_path: Path) -> None:
    (tmp_path / "x").write_text(f"key={TARGET_KEY}")
    result = ActionResult(0, "", {}, "")
    assert any(form in data for data in all_data(workplace, result).values() for form in forms("t0ken-of-the-workflow"))
