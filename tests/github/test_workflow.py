"""What we say to the runner, and what nobody can make us say."""

from __future__ import annotations

import io
import re
from pathlib import Path

import pytest

from nel_action.errors import Location
from nel_action.github.workflow import SUMMARY_LIMIT, Level, Workflow, escape_data, escape_property

ACTIONS = {"GITHUB_ACTIONS": "true"}


def commands(text: str) -> list[str]:
    """Read a log as the runner does: which lines are commands, with stopping and going on."""
    found, token = [], None
    for line in text.splitlines():
        match = re.match(r"^\s*::([^ :]+)(?: [^:]*)?::(.*)$", line)
        if token:
            token = None if line.strip() == f"::{token}::" else token
        elif match and match[1] == "stop-commands":
            token = match[2]
        elif match:
            found.append(line.strip())
    return found


def workflow(**environ: str) -> tuple[Workflow, io.StringIO]:
    out = io.StringIO()
    return Workflow({**ACTIONS, **environ}, out), out


def test_annotations_are_escaped() -> None:
    made, out = workflow()
    made.annotate(Level.ERROR, "a\n::set-output::%", title="x,y: z", location=Location(Path("a:b.yaml"), 3, 7))
    assert out.getvalue() == "::error file=a%3Ab.yaml,line=3,col=7,title=x%2Cy%3A z::a%0A::set-output::%25\n"


def test_escapes_can_be_read_back() -> None:
    for text in ("100%\r\n", "%0A", "a:b,c"):
        plain = escape_property(text)
        assert not set(plain) & set("\r\n:,")
        back = plain.replace("%3A", ":").replace("%2C", ",")
        assert back.replace("%0A", "\n").replace("%0D", "\r").replace("%25", "%") == text
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
def test_no_line_of_a_job_is_a_command(line: str) -> None:
    made, out = workflow()
    made.print_untrusted([line, *line.split("\n")])
    assert commands(out.getvalue()) == []
    assert out.getvalue().splitlines()[-1].startswith("::")


def test_commands_work_again_after_untrusted_lines_even_when_they_break_off() -> None:
    made, out = workflow()

    def lines() -> object:
        yield "fine"
        raise OSError

    with pytest.raises(OSError):  # noqa: PT011
        made.print_untrusted(lines())  # type: ignore[arg-type]
    made.annotate(Level.NOTICE, "after")
    assert commands(out.getvalue()) == ["::notice::after"]


def test_two_stops_have_two_tokens() -> None:
    made, out = workflow()
    made.print_untrusted(["a"])
    made.print_untrusted(["b"])
    assert len(set(re.findall(r"::stop-commands::(\w{32})", out.getvalue()))) == 2


def test_groups_are_closed() -> None:
    made, out = workflow()
    with pytest.raises(ZeroDivisionError), made.group("logs"):
        1 / 0  # noqa: B018
    assert commands(out.getvalue()) == ["::group::logs", "::endgroup::"]


def test_outputs_cannot_end_early(tmp_path: Path) -> None:
    path = tmp_path / "out"
    made, _ = workflow(GITHUB_OUTPUT=str(path))
    evil = "pass\nghadelimiter\nEOF\nverdict=pass"
    made.set_outputs({"summary": evil, "verdict": "fail"})
    read = re.findall(r"^(\S+)<<(\S+)\n(.*?)\n\2$", path.read_text(), re.DOTALL | re.MULTILINE)
    assert [(name, value) for name, _, value in read] == [("summary", evil), ("verdict", "fail")]
    assert len({delimiter for _, delimiter, _ in read}) == 2


def test_a_summary_stays_under_the_limit_and_keeps_whole_lines(tmp_path: Path) -> None:
    path = tmp_path / "summary"
    made, _ = workflow(GITHUB_STEP_SUMMARY=str(path))
    made.append_summary("first")
    made.append_summary("é" * 99 + "\n" + ("ü" * 99 + "\n") * 9999)
    data = path.read_bytes()
    assert len(data) < SUMMARY_LIMIT
    assert data.decode().startswith("first\n")
    assert "cut here" in data.decode()
    assert set(data.decode().splitlines()[2:-3]) == {"ü" * 99, ""} - {""}


def test_masks_are_for_the_runner_only() -> None:
    made, out = workflow()
    made.mask(["s3cret-value"])
    assert "::add-mask::s3cret-value" in out.getvalue()
    out = io.StringIO()
    Workflow({}, out).mask(["s3cret-value"])
    assert out.getvalue() == ""


def test_outside_of_actions_it_speaks_plainly() -> None:
    out = io.StringIO()
    made = Workflow({}, out)
    made.annotate(Level.WARNING, "careful", title="gate")
    with made.group("logs"):
        made.print_untrusted(["::error::x"])
    made.set_outputs({"verdict": "pass"})
    made.append_summary("x")
    assert out.getvalue() == "warning: gate: careful\nlogs\n::error::x\n"


@pytest.mark.parametrize("text", ["::error::x", "  ::error::x", "a\n::error::x", "a\r\n\t::error::x", "x ##[error]x"])
def test_our_own_words_are_no_command(text: str) -> None:
    made, out = workflow()
    made.say(text)
    assert commands(out.getvalue()) == []
    assert "##[" not in out.getvalue()
    assert "error" in out.getvalue()
