"""Every config that the launcher published loads, resolves and dry-runs; the documents say how many do."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from tests.support.published import Published, dry_run, load_filled, published

from nel_action.errors import NelActionError
from nel_action.executors.registry import BUILT_IN

ALL = list(published())
TARGET = (
    "target.api_endpoint.model_id=acme/model-1",
    "target.api_endpoint.url=http://127.0.0.1:1/v1/chat/completions",
)
DOCUMENT = Path(__file__).parents[2] / "docs" / "coming-from-nemo-launcher.md"

STRICTER = {
    r"'aa_scicode'": "nearest: .*scicode.scicode_aa_v2",
    r"'arena-hard-v0-1'": "nearest: nemo_skills.ns_arena_hard_v2",
    r"'mbbp'": "ls tasks",
    r"deployment.pre_cmd is shell text": "execution.trust_commands=true",
    r"export.s3.\w+ would put the value of \w+ into the spec": "name the variable instead",
    r"execution must be a mapping, not empty": "",
}
"""What is refused, and what to write instead: task names that the launcher dropped or never had, shell text without
trust, the values of secrets, and an outline whose sections are empty."""


def outcome(config: Published, folder: Path) -> str:
    """Return `as it is`, `with a target` (documents leave it out), or what is refused."""
    folder.mkdir()
    file = config.write(folder)
    said = ""
    for words, overrides in {"as it is": (), "with a target": TARGET}.items():
        try:
            text = dry_run(load_filled(file, *overrides), folder)
        except NelActionError as error:
            said = "\n".join(map(str, error.problems))
            if "target.api_endpoint.url is missing" not in said:
                break
        else:
            assert text.count("\n# job ") == len(config.spec["evaluation"]["tasks"])
            return words
    return said


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What becomes of each."""
    folder = tmp_path_factory.mktemp("published")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("USER", "me")
        return [outcome(config, folder / str(index)) for index, config in enumerate(ALL)]


def test_every_config_dry_runs_or_says_what_to_write(outcomes: list[str]) -> None:
    refused = []
    for config, said in zip(ALL, outcomes, strict=True):
        if said in {"as it is", "with a target"} or f"no executor '{config.executor}'" in said:
            continue
        known = [hint for message, hint in STRICTER.items() if re.search(message, said)]
        if not (known and re.search(known[0], said)):
            refused.append(f"{config.name} of {config.releases}: {said}")
    assert not refused, "\n".join(refused)


def test_shell_text_runs_where_it_is_trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "me")
    hooked = [config for config in ALL if (config.spec.get("deployment") or {}).get("pre_cmd")]
    assert hooked
    for index, config in enumerate(hooked):
        (tmp_path / str(index)).mkdir()
        file = config.write(tmp_path / str(index))
        assert "pre_cmd" in dry_run(load_filled(file, "execution.trust_commands=true"), tmp_path)


def test_the_table_of_counts_is_true(outcomes: list[str]) -> None:
    """Rows of the document: | executor | configs | load and dry-run | with a target given | refused |."""
    counts: Counter[tuple[str, str]] = Counter()
    for config, said in zip(ALL, outcomes, strict=True):
        word = said if said in {"as it is", "with a target"} else "refused"
        counts[config.executor, word] += len(config.releases)
    text = DOCUMENT.read_text()
    for executor in ("local", "slurm", "lepton"):
        if executor not in BUILT_IN:
            continue
        numbers = [counts[executor, word] for word in ("as it is", "with a target", "refused")]
        row = " | ".join(map(str, (executor, sum(numbers), *numbers)))
        assert f"| {row} |" in text, row


def test_what_was_clear_in_earlier_releases_is_warned_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "me")
    config = next(config for config in ALL if config.name == "local_llama_3_1_8b_instruct")
    loaded = load_filled(config.write(tmp_path))
    said = "\n".join(map(str, loaded.warnings))
    assert "several tasks are called 'ifeval'; it is read as 'lm-evaluation-harness.ifeval'" in said
    assert "'mbpp' is now called 'bigcode-evaluation-harness.mbpp-chat'" in said
