"""Samples files of lm-eval: decoding in batches gives the same columns as decoding line by line."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from nel_action.errors import ResultsError
from nel_action.formats import lm_eval_samples
from nel_action.formats.lm_eval_samples import SamplesFile, scan_samples

RECORDED = sorted(Path(__file__).parent.parent.rglob("recorded/**/samples_*.jsonl"))


def scan(path: Path) -> SamplesFile:
    return scan_samples(path, "t", 1, 1)


def content(file: SamplesFile) -> object:
    columns = {
        name: ([repr(value) for value in column.values], column.weights, column.count, column.without_value)
        for name, column in file.columns.items()
    }
    return file.offsets, list(file.ids), list(file.inputs), columns, file.generated, file.empty


def line(row: int, **fields: object) -> str:
    record = {
        "doc_id": row, "doc_hash": f"{row:064x}"[::-1], "filter": "none", "metrics": ["acc"], "acc": 1.0,
        "arguments": {"gen_args_0": {"arg_0": f"question {row}", "arg_1": {}}}, "resps": [["answer"]],
    }  # fmt: skip
    return json.dumps(record | fields) + "\n"


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: f"{path.parent.name}-{path.name[8:20]}")
def test_scan_of_recorded_files_is_the_same_in_batches_and_line_by_line(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    in_batches = content(scan(path))
    monkeypatch.setattr(lm_eval_samples._BatchDecoder, "for_line", lambda _line: None)
    assert content(scan(path)) == in_batches


@pytest.mark.parametrize(
    "fields",
    [
        {"acc": True},
        {"acc": math.nan},
        {"acc": None},
        {"acc": 10**400},
        {"acc": [1.5, 2]},
        {"acc": "text"},
        {"metrics": ["acc", "f1"], "f1": 0.5},
        {"metrics": []},
        {"filter": "other"},
        {"arguments": None},
        {"arguments": {"gen_args_0": {"arg_0": ['[{"role": "user", "content": "hello"}]']}}},
        {"resps": [[" "]]},
        {"resps": [[["-1.5", "False"]]]},
        {"resps": []},
        {"doc_hash": None},
    ],
)
def test_scan_with_an_unusual_line_is_the_same_in_batches_and_line_by_line(
    fields: dict[str, object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "samples_t.jsonl"
    path.write_text("".join(line(row, **(fields if row == 300 else {})) for row in range(600)))

    def outcome() -> object:
        try:
            return content(scan(path))
        except ResultsError as error:
            return str(error)

    in_batches = outcome()
    monkeypatch.setattr(lm_eval_samples._BatchDecoder, "for_line", lambda _line: None)
    assert outcome() == in_batches


@pytest.mark.parametrize("damage", ["{} {}\n", "\n", "[1]\n", '{"doc_id": 1\n', "\x00\n"])
def test_scan_names_the_damaged_line(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "samples_t.jsonl"
    path.write_text("".join(damage if row == 300 else line(row) for row in range(600)))
    with pytest.raises(ResultsError, match="line 301,"):
        scan(path)


def test_scan_keeps_filters_that_list_the_documents_in_another_order_apart(tmp_path: Path) -> None:
    path = tmp_path / "samples_t.jsonl"
    first = [line(row) for row in range(300)]
    path.write_text("".join([*first, *(line(299 - row, filter="other") for row in range(300))]))
    with pytest.raises(ResultsError, match="different orders"):
        scan(path)
    path.write_text("".join([*first, *(line(row, filter="other", acc=0.0) for row in range(300))]))
    columns = scan(path).columns
    assert (sum(columns["acc,none"].values), sum(columns["acc,other"].values)) == (300, 0)
