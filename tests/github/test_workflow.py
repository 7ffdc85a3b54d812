"""Workflow commands, outputs and summaries, and their protection from untrusted text."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from nel_action.errors import Location
from nel_action.github.workflow import SUMMARY_LIMIT, Level, Workflow, escape_data, escape_property

ACTIONS = {"GITHUB_ACTIONS": "true"}


def commands(text: str) -> list[str]:
    """Return the commands in a log as the runner detects them, with `stop-commands` in effect."""
    detected, token = [], None
    for line in text.splitlines():
        match = re.match(r"^\s*::([^ :]+)(?: [^:]*)?::(.*)$", line)
        if token:
            token = None if line.strip() == f"::{token}::" else token
        elif match and match[1] == "stop-commands":
            token = match[2]
        elif match:
            detected.append(line.strip())
    return detected


def workflow(**environ: str) -> tuple[Workflow, io.StringIO]:
    out = io.StringIO()
    return Workflow({**ACTIONS, **environ}, out), out


def test_annotate_escapes_message_and_properties() -> None:
    runner, out = workflow()
    runner.annotate(Level.ERROR, "a\n::set-output::%", title="x,y: z", location=Location(Path("a:b.yaml"), 3, 7))
    assert out.getvalue() == "::error file=a%3Ab.yaml,line=3,col=7,title=x%2Cy%3A z::a%0A::set-output::%25\n"


def test_escapes_are_reversible() -> None:
    for text in ("100%\r\n", "%0A", "a:b,c"):
        escaped = escape_property(text)
        assert not set(escaped) & set("\r\n:,")
        unescaped = escaped.replace("%3A", ":").replace("%2C", ",")
        assert unescaped.replace("%0A", "\n").replace("%0D", "\r").replace("%25", "%") == text
        assert "\n" not in escape_data(text)


@pytest.mark.parametrize(
    "line",
    [
        "::add-mask::x",
        "::set-env name=PATH::/evil",
        "\r::error::x",
        "a\x1b[2K\r::error::x",
        "a\n::error::x",
        "::stop-commands::x\n::x::\n::error::y",
    ],
)
def test_print_untrusted_contains_no_commands(line: str) -> None:
    runner, out = workflow()
    runner.print_untrusted([line, *line.split("\n")])
    assert commands(out.getvalue()) == []
    assert out.getvalue().splitlines()[-1].startswith("::")


def test_commands_work_after_print_untrusted_fails() -> None:
    runner, out = workflow()

    def lines() -> object:
        yield "fine"
        raise OSError

    with pytest.raises(OSError):  # noqa: PT011
        runner.print_untrusted(lines())  # type: ignore[arg-type]
    runner.annotate(Level.NOTICE, "after")
    assert commands(out.getvalue()) == ["::notice::after"]


def test_wrapped_lines_of_a_table_contain_no_commands() -> None:
    from rich.console import Console

    runner, out = workflow()
    console = Console(file=runner.stream(), width=20, force_terminal=False)
    for text in ("x" * 20 + "::stop-commands::t", "a ##[add-mask]pass", "::error::x", "\x1b[2J::error::y"):
        console.print(text, markup=False, highlight=False)
    assert commands(out.getvalue()) == []
    assert "##[" not in out.getvalue()
    assert "\x1b" not in out.getvalue()
    assert out.getvalue().splitlines()[:2] == ["x" * 20, "> ::stop-commands::t"]


def test_print_untrusted_uses_a_new_token_each_time() -> None:
    runner, out = workflow()
    runner.print_untrusted(["a"])
    runner.print_untrusted(["b"])
    assert len(set(re.findall(r"::stop-commands::(\w{32})", out.getvalue()))) == 2


def test_group_is_closed_after_an_exception() -> None:
    runner, out = workflow()
    with pytest.raises(ZeroDivisionError), runner.group("logs"):
        1 / 0  # noqa: B018
    assert commands(out.getvalue()) == ["::group::logs", "::endgroup::"]


def test_outputs_cannot_be_terminated_by_their_values(tmp_path: Path) -> None:
    path = tmp_path / "out"
    runner, _ = workflow(GITHUB_OUTPUT=str(path))
    hostile = "pass\nghadelimiter\nEOF\nverdict=pass"
    runner.set_outputs({"summary": hostile, "verdict": "fail"})
    entries = re.findall(r"^(\S+)<<(\S+)\n(.*?)\n\2$", path.read_text(), re.DOTALL | re.MULTILINE)
    assert [(name, value) for name, _, value in entries] == [("summary", hostile), ("verdict", "fail")]
    assert len({delimiter for _, delimiter, _ in entries}) == 2


def test_summary_is_truncated_at_a_line_below_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "summary"
    runner, _ = workflow(GITHUB_STEP_SUMMARY=str(path))
    runner.append_summary("first")
    runner.append_summary("é" * 99 + "\n" + ("ü" * 99 + "\n") * 9999)
    data = path.read_bytes()
    assert len(data) < SUMMARY_LIMIT
    assert data.decode().startswith("first\n")
    assert "truncated" in data.decode()
    assert set(data.decode().splitlines()[2:-3]) == {"ü" * 99, ""} - {""}


def test_mask_prints_nothing_outside_actions() -> None:
    runner, out = workflow()
    runner.mask(["s3cret-value"])
    assert "::add-mask::s3cret-value" in out.getvalue()
    out = io.StringIO()
    Workflow({}, out).mask(["s3cret-value"])
    assert out.getvalue() == ""


def test_messages_outside_actions_are_plain_text() -> None:
    out = io.StringIO()
    runner = Workflow({}, out)
    runner.annotate(Level.WARNING, "careful", title="gate")
    with runner.group("logs"):
        runner.print_untrusted(["::error::x"])
    runner.set_outputs({"verdict": "pass"})
    runner.append_summary("x")
    assert out.getvalue() == "warning: gate: careful\nlogs\n::error::x\n"


@pytest.mark.parametrize("text", ["::error::x", "  ::error::x", "a\n::error::x", "a\r\n\t::error::x", "x ##[error]x"])
def test_log_contains_no_commands(text: str) -> None:
    runner, out = workflow()
    runner.log(text)
    assert commands(out.getvalue()) == []
    assert "##[" not in out.getvalue()
    assert "error" in out.getvalue()
