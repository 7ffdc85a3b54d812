"""The strict reader of samples."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from nel_action.errors import ResultsError
from nel_action.gating import items as items_module
from nel_action.gating.items import Collector, read_items
from nel_action.statistics.items import Items


def to_lines(*records: object) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def make_sample(name: object = "a", value: object = 1.0, **more: object) -> dict[str, object]:
    return {"id": name, "scores": {"acc": value}, **more}


def read(tmp_path: Path, data: bytes, name: str = "s.jsonl") -> Items:
    path = tmp_path / name
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    items = read_items(path, "acc")
    assert items is not None
    return items


@pytest.mark.parametrize("name", ["s.jsonl", "s.jsonl.gz"])
def test_read_items_returns_values_clusters_and_inputs(tmp_path: Path, name: str) -> None:
    rows = [make_sample("a", 1, cluster="x", input="q1"), make_sample("b", 0.5, cluster="x", input="q2")]
    items = read(tmp_path, to_lines(*rows), name)
    assert items.index == {"a": 0, "b": 1}
    assert items.values.tolist() == [1.0, 0.5]
    assert items.clusters == ("x", "x")
    assert items.inputs is not None
    assert items.inputs[0] != items.inputs[1]
    assert (items.low, items.high, items.samples, len(items)) == (0.5, 1.0, 2, 2)


def test_read_items_averages_repeats(tmp_path: Path) -> None:
    rows = [
        make_sample("a", 1.0),
        make_sample("b", 0.0),
        make_sample("a", 0.0, repeat=1),
        make_sample("a", 0.5, repeat=2),
    ]
    items = read(tmp_path, to_lines(*rows))
    assert items.values.tolist() == [0.5, 0.0]
    assert (items.samples, items.low, items.high) == (4, 0.0, 1.0)


def test_read_items_keeps_order_over_several_batches(tmp_path: Path) -> None:
    items = read(tmp_path, to_lines(*(make_sample(str(index), index / 2000) for index in range(2000))))
    assert list(items.index)[::500] == ["0", "500", "1000", "1500"]
    assert items.values[1999] == pytest.approx(0.9995)


def test_read_items_returns_no_inputs_and_clusters_if_any_or_all_lack_them(tmp_path: Path) -> None:
    items = read(tmp_path, to_lines(make_sample("a"), make_sample("b", input="only this item has a prompt")))
    assert items.inputs is None
    assert items.clusters is None


def test_read_items_leaves_out_samples_without_a_value_of_the_metric(tmp_path: Path) -> None:
    items = read(tmp_path, to_lines(make_sample("a"), {"id": "b", "scores": {"f1": 1.0}}, make_sample("c")))
    assert list(items.index) == ["a", "c"]
    assert items.samples == 2


def test_read_items_rejects_an_item_without_a_value_in_one_of_its_repeats(tmp_path: Path) -> None:
    lines = to_lines(make_sample("a"), {"id": "a", "scores": {}, "repeat": 1})
    with pytest.raises(ResultsError, match="'a' has no value of acc in some of its repeats"):
        read(tmp_path, lines)


def test_read_items_returns_none_if_no_sample_has_a_value(tmp_path: Path) -> None:
    path = tmp_path / "s.jsonl"
    path.write_bytes(to_lines({"id": "a", "scores": {}}))
    assert read_items(path, "acc") is None


HUGE = "1" + "0" * 400


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"[]", "not a JSON object"),
        (b'{"id": "a"}', "scores is not a JSON object"),
        (b'{"scores": {"f1": 1}}', "id is not a text"),
        (b'{"id": "a", "scores": {"acc": NaN}}', "not a finite number"),
        (b'{"id": "a", "scores": {"acc": -Infinity}}', "not a finite number"),
        (b'{"id": "a", "scores": {"acc": "N/A"}}', "not a finite number"),
        (b'{"id": "a", "scores": {"acc": null}}', "not a finite number"),
        (b'{"id": "a", "scores": {"acc": true}}', "acc is true, not a number; write 1"),
        (b'{"id": "a", "scores": {"acc": %s}}' % HUGE.encode(), "not a finite number"),
        (b'{"id": 7, "scores": {"acc": 1}}', "id is not a text"),
        (b'{"id": "", "scores": {"acc": 1}}', "id is not a text"),
        (b'{"id": "\\ud800", "scores": {"acc": 1}}', "id is not a text"),
        (b'{"id": "a", "scores": {"acc": 1}, "repeat": 0.5}', "repeat"),
        (b'{"id": "a", "scores": {"acc": 1}, "repeat": -1}', "repeat"),
        (b'{"id": "a", "scores": {"acc": 1}, "repeat": %s}' % HUGE.encode(), "repeat"),
        (b'{"id": "a", "scores": {"acc": 1}, "cluster": 3}', "cluster"),
        (b'{"id": "a", "scores": {"acc": 1}', "line 2"),
        (b'{"id": "a", "scores": {"acc": 1}} {}', "line 2"),
        (b'{"id": "z", "scores": {"acc": 1}}', "'z' has repeat 0 twice"),
        (b'{"id":' + b"[" * 100_000, "line 2"),
    ],
)
def test_read_items_rejects_file_with_a_malformed_line(tmp_path: Path, line: bytes, message: str) -> None:
    with pytest.raises(ResultsError, match="cannot read samples") as raised:
        read(tmp_path, to_lines(make_sample("z")) + line + b"\n" + to_lines(make_sample("y")))
    assert message in str(raised.value)


def test_read_items_rejects_empty_missing_and_truncated_files(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="there are no items"):
        read(tmp_path, b"")
    with pytest.raises(ResultsError):
        read_items(tmp_path / "none.jsonl", "acc")
    complete = gzip.compress(to_lines(*(make_sample(str(index)) for index in range(500))))
    (tmp_path / "truncated.jsonl.gz").write_bytes(complete[:-20])
    with pytest.raises(ResultsError):
        read_items(tmp_path / "truncated.jsonl.gz", "acc")


def test_collector_reports_line_of_malformed_sample() -> None:
    collector = Collector("acc")
    collector.extend([make_sample("a")], 0)
    with pytest.raises(ValueError, match="line 8: acc is not a finite number"):
        collector.extend([make_sample("b"), make_sample("c", None)], 6)


def test_read_items_gives_the_same_in_batches_and_with_every_check(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    samples = [
        make_sample(f"item {row % 700}", row / 2000, repeat=row // 700, cluster=f"c{row % 7}" if row % 3 else None)
        for row in range(2100)
    ]
    data = to_lines(*samples[:1300], {"id": "none", "scores": {}}, *samples[1300:])
    in_batches = read(tmp_path, data)
    monkeypatch.setattr(items_module, "_extend_fast", lambda *_: False)
    checked = read(tmp_path, data)
    assert in_batches.index == checked.index
    assert in_batches.values.tolist() == checked.values.tolist()
    assert in_batches.clusters == checked.clusters
    assert in_batches.samples == checked.samples == 2100
    assert len(in_batches) == 700
