"""Columns of one metric: read whole or not at all."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from nel_action.errors import ResultsError
from nel_action.gating.items import Collector, Items, read_items


def lines(*records: object) -> bytes:
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def sample(name: object = "a", value: object = 1.0, **more: object) -> dict[str, object]:
    return {"id": name, "scores": {"acc": value}, **more}


def read(tmp_path: Path, data: bytes, name: str = "s.jsonl") -> Items:
    path = tmp_path / name
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return read_items(path, "acc")


@pytest.mark.parametrize("name", ["s.jsonl", "s.jsonl.gz"])
def test_values_clusters_and_questions_come_as_columns(tmp_path: Path, name: str) -> None:
    rows = [sample("a", 1, cluster="x", input="q1"), sample("b", 0.5, cluster="x", input="q2")]
    items = read(tmp_path, lines(*rows), name)
    assert items.index == {"a": 0, "b": 1}
    assert items.values.tolist() == [1.0, 0.5]
    assert items.clusters == ("x", "x")
    assert items.inputs is not None
    assert items.inputs[0] != items.inputs[1]
    assert (items.low, items.high, items.samples, len(items)) == (0.5, 1.0, 2, 2)


def test_repeats_are_averaged_within_their_item(tmp_path: Path) -> None:
    rows = [sample("a", 1.0), sample("b", 0.0), sample("a", 0.0, repeat=1), sample("a", 0.5, repeat=2)]
    items = read(tmp_path, lines(*rows))
    assert items.values.tolist() == [0.5, 0.0]
    assert (items.samples, items.low, items.high) == (4, 0.0, 1.0)


def test_more_than_a_batch_is_read_in_order(tmp_path: Path) -> None:
    items = read(tmp_path, lines(*(sample(str(place), place / 2000) for place in range(2000))))
    assert list(items.index)[::500] == ["0", "500", "1000", "1500"]
    assert items.values[1999] == pytest.approx(0.9995)


def test_without_questions_or_clusters_there_are_none(tmp_path: Path) -> None:
    items = read(tmp_path, lines(sample("a"), sample("b", input="only this one says")))
    assert items.inputs is None
    assert items.clusters is None


HUGE = "1" + "0" * 400


@pytest.mark.parametrize(
    ("line", "said"),
    [
        (b"[]", "no JSON object"),
        (b'{"id": "a"}', "no 'acc'"),
        (b'{"id": "a", "scores": {"f1": 1}}', "no 'acc'"),
        (b'{"id": "a", "scores": {"acc": NaN}}', "not a finite number"),
        (b'{"id": "a", "scores": {"acc": -Infinity}}', "not a finite number"),
        (b'{"id": "a", "scores": {"acc": "N/A"}}', "not a finite number"),
        (b'{"id": "a", "scores": {"acc": null}}', "not a finite number"),
        (b'{"id": "a", "scores": {"acc": true}}', "not a finite number"),
        (b'{"id": "a", "scores": {"acc": %s}}' % HUGE.encode(), "not a finite number"),
        (b'{"id": 7, "scores": {"acc": 1}}', "its id is no text"),
        (b'{"id": "", "scores": {"acc": 1}}', "its id is no text"),
        (b'{"id": "\\ud800", "scores": {"acc": 1}}', "its id is no text"),
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
def test_one_spoilt_line_spoils_the_file(tmp_path: Path, line: bytes, said: str) -> None:
    with pytest.raises(ResultsError, match="cannot read samples") as raised:
        read(tmp_path, lines(sample("z")) + line + b"\n" + lines(sample("y")))
    assert said in str(raised.value)


def test_nothing_missing_or_torn_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match="there is no item"):
        read(tmp_path, b"")
    with pytest.raises(ResultsError):
        read_items(tmp_path / "none.jsonl", "acc")
    whole = gzip.compress(lines(*(sample(str(place)) for place in range(500))))
    (tmp_path / "torn.jsonl.gz").write_bytes(whole[:-20])
    with pytest.raises(ResultsError):
        read_items(tmp_path / "torn.jsonl.gz", "acc")


def test_a_collector_says_where_a_sample_is_wrong() -> None:
    collector = Collector("acc")
    collector.extend([sample("a")], 0)
    with pytest.raises(ValueError, match="line 8: acc is not a finite number"):
        collector.extend([sample("b"), sample("c", None)], 6)
