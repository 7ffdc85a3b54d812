from __future__ import annotations

import base64
import gzip
import hashlib
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from tests.support import reports
from tests.support.sample_reports import hostile_report, report_with_samples

from nel_action.model.results import Sample, write_samples
from nel_action.report.html import render_html, samples
from nel_action.report.model import Report
from nel_action.report.write import write_reports


class Elements(HTMLParser):
    """Collects elements, attributes and the texts of style and script."""

    def __init__(self) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.inside: dict[str, list[str]] = {}
        self._open = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += [(name, value or "") for name, value in attrs]
        self._open = tag

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002 - the parser's signature
        self._open = ""

    def handle_data(self, data: str) -> None:
        self.inside.setdefault(self._open, []).append(data)


def parsed(report: Report) -> Elements:
    elements = Elements()
    elements.feed(render_html(report).decode())
    return elements


def opened(page: bytes, identity: str) -> Any:  # noqa: ANN401 - JSON
    match = re.search(rf'id="{identity}">([^<]*)<'.encode(), page)
    assert match
    return json.loads(gzip.decompress(base64.b64decode(match[1])))


def test_policy_allows_only_the_own_script_and_style(tmp_path: Path) -> None:
    page = parsed(report_with_samples(tmp_path, 5))
    (policy,) = [value for name, value in page.attributes if name == "content" and "default-src" in value]
    assert policy.startswith("default-src 'none'; ")
    scripts = [text for text in page.inside["script"] if "use strict" in text]
    for text in (*scripts, *page.inside["style"]):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy


def test_page_has_no_references_but_its_links(tmp_path: Path) -> None:
    page = parsed(hostile_report(tmp_path))
    names = set(page.names)
    assert names.isdisjoint({"img", "iframe", "base", "link", "object", "embed", "video", "audio"})
    leading = {name for name, _ in page.attributes} & {"src", "action", "srcset", "style", "formaction", "xlink:href"}
    assert leading == set()
    assert not any(name.startswith("on") for name, _ in page.attributes)
    assert [value for name, value in page.attributes if name == "href"] == ["#scores", "https://x.example/a b)|"]


def test_page_contains_every_verdict_and_reason() -> None:
    text = " ".join(part for parts in parsed(reports.failed()).inside.values() for part in parts)
    for expected in ("fail", "unmeasurable", "inconclusive", "pass", "the job ran out of memory", "Full report"):
        assert expected in text


def test_charts_have_their_figures_as_labels() -> None:
    labels = [value for name, value in parsed(reports.failed()).attributes if name == "aria-label"]
    assert "difference −5.3 pp, interval [−7.3, −3.3], limit −3.0 pp" in labels


def test_samples_are_paired_by_id_and_repeat(tmp_path: Path) -> None:
    report = report_with_samples(tmp_path, 3)
    candidate = [Sample(id="a", scores={"exact_match": 1}, repeat=n, output=f"new {n}") for n in range(2)]
    baseline = [Sample(id="a", scores={"exact_match": 0}, output="old 0"), Sample(id="b", scores={"exact_match": 1})]
    write_samples(candidate, tmp_path / "candidate" / "samples" / "gsm8k.jsonl.gz")
    write_samples(baseline, tmp_path / "baseline" / "samples" / "gsm8k.jsonl.gz")
    page = render_html(report)
    index = opened(page, "index-0")
    assert index["ids"] == ["a", "a #2", "b"]
    assert (index["candidate"], index["baseline"]) == ([1, 1, None], [0, None, 1])
    lines = opened(page, "texts-0-0")
    assert [line[2:4] for line in lines] == [["new 0", "old 0"], ["new 1", None], [None, None]]


def test_changed_samples_are_kept_if_there_are_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "MAX_SAMPLES", 400)
    page = render_html(report_with_samples(tmp_path, 1_000))
    index = opened(page, "index-0")
    changed = [new for new, old in zip(index["candidate"], index["baseline"], strict=True) if new != old]
    assert len(index["ids"]) == 400
    everything = opened(render_html(all_samples(tmp_path, monkeypatch)), "index-0")
    all_changed = sum(a != b for a, b in zip(everything["candidate"], everything["baseline"], strict=True))
    assert len(changed) == all_changed
    assert b"600 more samples are in the run directory" in page


def all_samples(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Report:
    monkeypatch.setattr(samples, "MAX_SAMPLES", 100_000)
    return report_with_samples(folder, 1_000)


@pytest.mark.parametrize(
    "damage", [b"", b"not gzip", gzip.compress(b'{"id": 1}')], ids=["empty", "not gzip", "no sample"]
)
def test_damaged_samples_are_reported_on_the_page(tmp_path: Path, damage: bytes) -> None:
    report = report_with_samples(tmp_path, 5)
    (tmp_path / "candidate" / "samples" / "gsm8k.jsonl.gz").write_bytes(damage + b"\x1f")
    page = render_html(report).decode()
    assert "cannot read samples" in page
    assert "dropped by 5.3 pp" in page


def test_samples_outside_the_results_folder_are_rejected(tmp_path: Path) -> None:
    report = report_with_samples(tmp_path, 5)
    outside = tmp_path / "outside.jsonl.gz"
    write_samples([Sample(id="secret", scores={})], outside)
    tasks = tuple(task.model_copy(update={"samples": "../outside.jsonl.gz"}) for task in report.results.tasks)
    page = render_html(replace(report, results=report.results.model_copy(update={"tasks": tasks}))).decode()
    assert "samples file outside the folder of the results" in page
    assert 'id="index-0"' not in page


def test_samples_without_a_baseline_have_one_side(tmp_path: Path) -> None:
    report = report_with_samples(tmp_path, 5)
    page = render_html(replace(report, metadata=replace(report.metadata, baseline_dir=None)))
    assert opened(page, "index-0")["baseline"] is None


def test_equal_reports_give_equal_pages(tmp_path: Path) -> None:
    report = report_with_samples(tmp_path, 50)
    assert render_html(report) == render_html(report)


def test_write_reports_reads_samples_from_the_run_directory(tmp_path: Path) -> None:
    report = report_with_samples(tmp_path, 5)
    bare = replace(report, metadata=replace(report.metadata, run_dir=None))
    page = write_reports(bare, tmp_path / "candidate")["report.html"].read_bytes()
    assert len(opened(page, "index-0")["ids"]) == 5
