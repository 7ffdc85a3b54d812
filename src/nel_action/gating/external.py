"""Result sets from files: nel-action's own `results.json`, and every format that a harness detects."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nel_action.catalog.lookup import catalog
from nel_action.errors import NelActionError, NotFoundError, ResultsError
from nel_action.formats.parsing import select_primary_metric, with_direction
from nel_action.gating.items import Collector, items_of_columns
from nel_action.gating.result_set import ResultSet
from nel_action.model.results import JobOutcome, Results, Sample, TaskResult, read_results
from nel_action.statistics.items import Items

if TYPE_CHECKING:
    from nel_action.formats.parsing import DetectedResult, ParsedResult
    from nel_action.model.task import HarnessTask

__all__ = ["open_run"]

logger = logging.getLogger(__name__)

_BATCH: Final = 512
_FORMATS: Final = (
    "results.json of nel-action, results_*.json of lm-eval, inspect logs (*.json, *.eval), results.yml or bundles "
    "(eval-*.json with results.jsonl) of nemo-evaluator, JUnit XML, output of promptfoo, test runs of DeepEval, "
    "results of lighteval, records of Every Eval Ever, job directories of Harbor, scores.json of the command harness, "
    "files of installed plug-ins"
)


@dataclass(frozen=True, slots=True)
class _Reader:
    """A program whose result files can be detected and read."""

    name: str
    """As `TaskResult.harness`."""
    detect: Callable[[Path], Sequence[DetectedResult]]
    read: Callable[[HarnessTask, Path], ParsedResult]


def open_run(path: Path, *, name: str | None = None) -> ResultSet:
    """Read results of any supported format.

    Args:
        path: a file, or a directory with the results of one run.
        name: name of the run in reports, by default that of the path.

    Raises:
        NotFoundError: the path does not exist.
        ResultsError: it contains no supported format, or incomplete or ambiguous files.
    """
    if not path.exists():
        msg = f"{path} does not exist"
        raise NotFoundError(msg, hint=f"expected: {_FORMATS}")
    name = name or path.name
    if (own := _own_results(path, name)) is not None:
        return own
    detected = _detect(path)
    if detected is None:
        msg = f"no results in {path}"
        raise ResultsError(msg, hint=f"supported: {_FORMATS}")
    reader, results = detected
    logger.debug("%s: %d results of %s", path, len(results), reader.name)
    return _result_set(reader, results, name=name)


def _own_results(path: Path, name: str) -> ResultSet | None:
    """Read `results.json` of nel-action; None for JSON of another format.

    Raises:
        ResultsError: the file is truncated, malformed or of another major version.
    """
    file = path / "results.json" if path.is_dir() else path
    if file.suffix != ".json" or not file.is_file() or file.name.startswith(("results_", "eval-")):
        return None
    try:
        data = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        pass  # NOTE: `read_results` reports the cause.
    else:
        if not isinstance(data, dict) or "invocation" not in data:
            return None
    results = read_results(file)
    commit = f" {results.commit[:7]}" if results.commit else ""
    return ResultSet.from_results(results, file.parent, name=f"{name}{commit}")


def _detect(path: Path) -> tuple[_Reader, Sequence[DetectedResult]] | None:
    """Ask each reader in turn; the first that detects results reads them.

    Raises:
        ResultsError: a built-in reader found a damaged file, and no plug-in detected results of its own.
    """
    from nel_action.harnesses.registry import plugin_names

    damaged: ResultsError | None = None
    try:
        for reader in _built_in_readers():
            if results := reader.detect(path):
                return reader, results
    except ResultsError as error:
        damaged = error
    for reader in map(_reader, plugin_names()):
        if results := reader.detect(path):
            return reader, results
    if damaged is not None:
        raise damaged
    return None


def _built_in_readers() -> Iterator[_Reader]:
    # NOTE: imported only for files of other programs; own results are the common case.
    from nel_action.formats import deepeval, every_eval_ever, harbor, junit_xml, lighteval, nemo_bundle, promptfoo
    from nel_action.harnesses.registry import BUILT_IN

    # NOTE: bundles are written by nemo-evaluator 0.3, which no harness here runs.
    yield _Reader("nemo-evaluator", nemo_bundle.detect, lambda task, path: nemo_bundle.read(path, task))
    yield _Reader("promptfoo", promptfoo.detect, lambda task, path: promptfoo.read(path, task))
    yield _Reader("lighteval", lighteval.detect, lambda task, path: lighteval.read(path, task))
    yield _Reader("every_eval_ever", every_eval_ever.detect, lambda task, path: every_eval_ever.read(path, task))
    yield _Reader("harbor", harbor.detect, lambda task, path: harbor.read(path, task))
    yield _Reader("deepeval", deepeval.detect, lambda task, path: deepeval.read(path, task))
    # NOTE: inspect comes last, because any JSON file may be one of its logs.
    yield from map(_reader, sorted(BUILT_IN, key=lambda name: (name == "inspect", name)))
    # NOTE: other programs also write a report of their tests next to their results.
    yield _Reader("junit", junit_xml.detect, lambda task, path: junit_xml.read(path, task))


def _reader(name: str) -> _Reader:
    from nel_action.harnesses.registry import harness

    program = harness(name)
    return _Reader(name, program.detect, program.read)


def _result_set(reader: _Reader, detected: Sequence[DetectedResult], *, name: str) -> ResultSet:
    by_task: dict[str, DetectedResult] = {}
    for result in detected:
        other = by_task.setdefault(result.task.display, result)
        if other is not result:
            msg = f"several results of {result.task.display}: {other.artifacts} and {result.artifacts}"
            raise ResultsError(msg, hint="name one of the files, or a directory with one run")
    parsed = _ParsedResults(reader, by_task)

    def parts(names: Collection[str]) -> list[TaskResult]:
        return [parsed.task_result(name) for name, result in by_task.items() if result.part_of and name in names]

    tasks = tuple(parsed.task_result(name) for name, result in by_task.items() if not result.part_of)
    return ResultSet(
        results=Results(invocation="0" * 16, created="", tool_version="", tasks=tasks),
        items=parsed.items,
        name=name,
        parts=parts,
    )


@dataclass(slots=True)
class _ParsedResults:
    """Reads each result once, unless the samples of several of its metrics are needed."""

    reader: _Reader
    detected: Mapping[str, DetectedResult]
    """By task."""
    unused: dict[str, ParsedResult] = field(default_factory=dict)
    """Results whose samples have not been iterated, by task."""

    def task_result(self, name: str) -> TaskResult:
        """Return the result of a task; one without scores and with the reason if its files cannot be read."""
        detected = self.detected[name]
        bare = TaskResult(task=name, model=detected.model, job_id="-", key=f"-{name}", outcome=JobOutcome.SUCCEEDED)
        try:
            parsed = self.reader.read(detected.task, detected.artifacts)
        except NelActionError as error:
            return bare.model_copy(update={"reason": "results", "detail": error.problems[0].text})
        if self.reader.name == "nemo":
            parsed = _with_catalog(parsed, detected.task.name)
        self.unused[name] = parsed
        params = {"harness": self.reader.name, "params": dict(detected.params)}
        return bare.model_copy(update={**parsed.task_fields(), **params})

    def items(self, result: TaskResult, metric: str) -> Items | None:
        """Return the items of a metric; None if the files have none."""
        if result.reason:
            return None
        detected = self.detected[result.task]
        parsed = self.unused.get(result.task)
        if parsed is not None and parsed.columns is not None:
            return items_of_columns(parsed.columns, metric)
        # NOTE: other samples can be iterated once, so the files are parsed again for each further metric.
        parsed = self.unused.pop(result.task, None) or self.reader.read(detected.task, detected.artifacts)
        records = _records(parsed, metric)
        return None if records is None else _collect(records, metric, task=result.task)


def _with_catalog(parsed: ParsedResult, task: str) -> ParsedResult:
    """Add the direction of the catalog's metric, which files of the container contract do not contain.

    Args:
        parsed: the result.
        task: the task's name.
    """
    names = [score.metric for score in parsed.scores]
    known = [each for each in catalog() if task in {each.name, each.full_name} and each.metric]
    directions = {(select_primary_metric(each.metric, names), each.higher_is_better) for each in known}
    for metric, higher_is_better in directions:
        # NOTE: several harnesses may have a task of that name.
        if (metric, None if higher_is_better is None else not higher_is_better) not in directions:
            scores = with_direction(parsed.scores, metric, higher_is_better=higher_is_better)
            parsed = replace(parsed, scores=scores)
    return parsed


def _records(parsed: ParsedResult, metric: str) -> Iterable[Mapping[str, Any]] | None:
    """Return the samples as records; None if none has a value of the metric."""
    if parsed.samples is None or (parsed.sample_metrics is not None and metric not in parsed.sample_metrics):
        return None
    return map(_record, parsed.samples)


def _record(sample: Sample) -> dict[str, Any]:
    return {
        "id": sample.id,
        "scores": sample.scores,
        "repeat": sample.repeat,
        "cluster": sample.cluster,
        "input": sample.input,
    }


def _collect(records: Iterable[Mapping[str, Any]], metric: str, *, task: str) -> Items | None:
    """Collect the values of one metric; None if no sample has one.

    Args:
        records: samples in the structure of `Sample`.
        metric: the metric to collect.
        task: the task's name, for messages.

    Raises:
        ResultsError: an item lacks the metric in some of its repeats, or an item and repeat occurs twice.
    """
    collector, source, count = Collector(metric), iter(records), 0
    try:
        while batch := list(islice(source, _BATCH)):
            collector.extend(batch, count)
            count += len(batch)
        return None if not collector.index else collector.done()
    except (ValueError, OverflowError) as error:
        msg = f"invalid samples of {task}: {error}"
        raise ResultsError(msg) from error
