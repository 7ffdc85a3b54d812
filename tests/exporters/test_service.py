from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest
from tests.support.runs import make_run

from nel_action.errors import NotFoundError, Problem, SecretError, SpecError
from nel_action.exporters import registry
from nel_action.exporters.bundle import Bundle, load_bundle
from nel_action.exporters.credentials import resolve_variables
from nel_action.exporters.interface import Change, CommonSettings, DestinationError, Exported, ExportOutcome
from nel_action.exporters.service import export_bundles
from nel_action.exporters.settings import parse_settings
from nel_action.model.env_ref import EnvRef, parse_references


class Busy:
    name = "busy"
    settings = CommonSettings

    def __init__(self) -> None:
        self.failures = 0
        self.calls = 0

    def check(self, settings: CommonSettings, environ: Mapping[str, str]) -> Sequence[Problem]:  # noqa: ARG002
        return []

    def export(self, bundle: Bundle, settings: CommonSettings, environ: Mapping[str, str]) -> ExportOutcome:  # noqa: ARG002
        self.calls += 1
        if self.calls <= self.failures:
            msg = "busy"
            raise DestinationError(msg, retry_after=7)
        return ExportOutcome(destination="busy", items=(Exported(bundle.results.invocation, Change.CREATED),))


BUSY = Busy()


@pytest.fixture
def busy(monkeypatch: pytest.MonkeyPatch) -> Busy:
    plug_in = EntryPoint("busy", f"{__name__}:BUSY", registry.GROUP)
    monkeypatch.setattr(registry, "entry_points", lambda **_: [plug_in])
    BUSY.calls = BUSY.failures = 0
    return BUSY


@pytest.fixture
def bundles(tmp_path: Path) -> list[Bundle]:
    return [load_bundle(make_run(tmp_path))]


def test_busy_destination_is_retried_after_its_delay(busy: Busy, bundles: list[Bundle]) -> None:
    busy.failures, waits = 2, list[float]()
    outcome = export_bundles(bundles, "busy", {}, {}, sleep=waits.append)
    assert outcome.complete
    assert waits == [7.0, 7.0]


def test_export_fails_after_four_tries(busy: Busy, bundles: list[Bundle]) -> None:
    busy.failures = 99
    outcome = export_bundles(bundles, "busy", {}, {}, sleep=lambda _seconds: None)
    assert not outcome.complete
    assert outcome.items[0].problem == "busy"
    assert busy.calls == 4


def test_patterns_without_matches_are_rejected(busy: Busy, bundles: list[Bundle]) -> None:
    with pytest.raises(SpecError, match="no metric matches 'promt'"):
        export_bundles(bundles, "busy", {"log_metrics": ["promt"]}, {})
    outcome = export_bundles(bundles, "busy", {"log_metrics": ["exact", "promt"]}, {})
    assert outcome.notes == ("log_metrics: no metric matches 'promt'",)
    assert busy.calls == 1


def test_all_invalid_options_are_reported_together(busy: Busy, bundles: list[Bundle]) -> None:
    with pytest.raises(SpecError) as caught:
        export_bundles(bundles, "busy", {"log_metrisc": [], "copy_logs": "maybe"}, {})
    messages = " ".join(problem.message for problem in caught.value.problems)
    assert "did you mean 'log_metrics'" in messages
    assert "copy_logs" in messages
    assert busy.calls == 0


def test_parse_settings_accepts_names_of_the_launcher(busy: Busy) -> None:
    old = parse_settings(busy, {"log_logs": True, "log_artifacts": False, "log_metrics": None, "job_dirs": None})
    assert (old.copy_logs, old.copy_artifacts, old.log_metrics, old.job_dirs) == (True, False, (), ())
    assert not parse_settings(busy, {"log_logs": True, "copy_logs": False}).copy_logs


def test_unknown_destination_is_rejected(bundles: list[Bundle]) -> None:
    with pytest.raises(NotFoundError, match="no exporter 'locla'"):
        export_bundles(bundles, "locla", {}, {})


def test_resolve_variables_requires_every_variable() -> None:
    environ = {"A": "1"}
    assert resolve_variables(parse_references({"X": "host:A", "Y": "lit:2", "Z": "runtime:A"}), environ) == {
        "A": "1",
        "X": "1",
        "Y": "2",
        "Z": "1",
    }
    with pytest.raises(SecretError, match="NOPE is not set"):
        resolve_variables({"X": EnvRef.host("NOPE")}, environ)
