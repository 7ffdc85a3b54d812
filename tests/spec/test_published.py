"""Published configs of the launcher load, resolve and dry-run; the documentation states how many."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest
from tests.support.published import Published, dry_run, load_filled, published

from nel_action.errors import NelActionError
from nel_action.executors.registry import BUILT_IN

pytestmark = pytest.mark.slow

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
    r"execution.extra_docker_args: the option 'some' is not supported": "supported are: --add-host",
}
"""Messages of refused configs and their hints: task names that the launcher removed or never had, shell commands
without trust, values of secrets, a template with empty sections, and placeholders."""


def outcome(config: Published, folder: Path) -> str:
    """Return `as it is`, `with a target` (documents often omit it), or the problems."""
    folder.mkdir()
    file = config.write(folder)
    problems = ""
    for label, overrides in {"as it is": (), "with a target": TARGET}.items():
        try:
            text = dry_run(load_filled(file, *overrides), folder)
        except NelActionError as error:
            problems = "\n".join(map(str, error.problems))
            if "target.api_endpoint.url is missing" not in problems:
                break
        else:
            assert text.count("\n# job ") == len(config.spec["evaluation"]["tasks"])
            return label
    return problems


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """The outcome of each config."""
    folder = tmp_path_factory.mktemp("published")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("USER", "me")
        return [outcome(config, folder / str(index)) for index, config in enumerate(ALL)]


def test_config_dry_runs_or_has_a_hint(outcomes: list[str]) -> None:
    refused = []
    for config, result in zip(ALL, outcomes, strict=True):
        if result in {"as it is", "with a target"} or f"no executor '{config.executor}'" in result:
            continue
        known = [hint for message, hint in STRICTER.items() if re.search(message, result)]
        if not (known and re.search(known[0], result)):
            refused.append(f"{config.name} of {config.releases}: {result}")
    assert not refused, "\n".join(refused)


def test_trusted_shell_commands_are_planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "me")
    with_commands = [config for config in ALL if (config.spec.get("deployment") or {}).get("pre_cmd")]
    assert with_commands
    for index, config in enumerate(with_commands):
        (tmp_path / str(index)).mkdir()
        file = config.write(tmp_path / str(index))
        assert "pre_cmd" in dry_run(load_filled(file, "execution.trust_commands=true"), tmp_path)


def test_table_of_counts_is_up_to_date(outcomes: list[str]) -> None:
    """Rows of the document: | executor | configs | load and dry-run | with a target given | refused |."""
    counts: Counter[tuple[str, str]] = Counter()
    for config, result in zip(ALL, outcomes, strict=True):
        label = result if result in {"as it is", "with a target"} else "refused"
        counts[config.executor, label] += len(config.releases)
    text = DOCUMENT.read_text()
    for executor in ("local", "slurm", "lepton"):
        if executor not in BUILT_IN:
            continue
        numbers = [counts[executor, label] for label in ("as it is", "with a target", "refused")]
        row = " | ".join(map(str, (executor, sum(numbers), *numbers)))
        assert f"| {row} |" in text, row


def test_former_task_names_are_accepted_with_a_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("USER", "me")
    config = next(config for config in ALL if config.name == "local_llama_3_1_8b_instruct")
    loaded = load_filled(config.write(tmp_path))
    warnings = "\n".join(map(str, loaded.warnings))
    assert "several tasks are called 'ifeval'; it is read as 'lm-evaluation-harness.ifeval'" in warnings
    assert "'mbpp' is now called 'bigcode-evaluation-harness.mbpp-chat'" in warnings
