"""The metrics of an inspect log: names, groups, epoch reducers, and the items that each one is computed from."""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from nel_action.formats.inspect_samples import InspectSample
from nel_action.formats.parsing import as_mapping, parse_count, parse_float

__all__ = ["InspectMetric", "inspect_metrics", "item_values", "values_by_item"]

_MEANS: Final = {"accuracy", "mean"}
"""Metrics that are means over the items, and that inspect's `stderr` belongs to."""
_COUNTED_REDUCER: Final = re.compile(r"(at_least|pass_at|pass_k)_(\d+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class InspectMetric:
    """One value of the log."""

    name: str
    """`scorer.metric`; with the key of a scorer with several values `scorer.key.metric`; of epochs that are not
    averaged `scorer.metric,reducer`."""
    source: tuple[str, str]
    """Scorer and key of the samples' values."""
    value: float | None
    """None if it is not finite."""
    stderr: float | None
    n: int | None
    reducer: str
    group: tuple[str, str] | None
    """Property of the items and its value, for one group of `grouped()`."""
    is_overall: bool
    """The value of `grouped()` over all groups."""
    function: str
    """Name of the metric in inspect (`accuracy`)."""
    has_options: bool
    """The metric has options, which may convert the values in another way."""

    @property
    def higher_is_better(self) -> bool | None:
        """True for accuracies; inspect does not record a direction."""
        return True if self.function == "accuracy" else None

    @property
    def mean_of_items(self) -> bool | None:
        """Whether the metric is the mean of its items; None if that depends on options or a reducer."""
        if self.function not in _MEANS:
            return False
        return None if self.has_options or self.is_overall or self.reducer != "mean" else True


def inspect_metrics(log: Mapping[str, Any], samples: Sequence[InspectSample]) -> Iterator[InspectMetric]:
    """Yield the metrics of a log in its order, without its standard errors.

    Args:
        log: the log without its samples.
        samples: its samples.
    """
    for entry in as_mapping(log.get("results")).get("scores") or ():
        key, metrics = str(entry.get("name")), as_mapping(entry.get("metrics"))
        source, prefix = _source(str(entry.get("scorer") or key), key, samples)
        reducer = str(entry.get("reducer") or "mean")
        by_item = values_by_item(samples, source)
        count = parse_count(entry.get("scored_samples"))
        count = len(by_item) or None if count is None else count
        stderr = _stderr(metrics, count, [value for values in by_item.values() for value in values])
        for metric_name, metric in metrics.items():
            if "stderr" in metric_name:
                continue
            options = as_mapping(as_mapping(metric).get("params"))
            group, function, is_overall = _group(metric_name, options, samples)
            function = function or str(metric.get("name") or metric_name).rpartition("/")[2]
            is_plain = group is None and not is_overall
            yield InspectMetric(
                name=f"{prefix}.{metric_name}" + ("" if reducer == "mean" else f",{reducer}"),
                source=source,
                value=parse_float(as_mapping(metric).get("value")),
                stderr=stderr if is_plain and function in _MEANS else None,
                n=count if group is None else len(values_by_item(samples, source, group)),
                reducer=reducer,
                group=group,
                is_overall=is_overall,
                function=function,
                has_options=is_plain and bool(options),
            )


def _source(scorer: str, key: str, samples: Sequence[InspectSample]) -> tuple[tuple[str, str], str]:
    """Return where the samples have the values of an entry, and the start of its metrics' names."""
    if scorer != key:
        return (scorer, key), f"{scorer}.{key}"
    known = {source for sample in samples for source in sample.values}
    # NOTE: old logs name the key only.
    owners = [source for source in known if source[1] == key]
    if (key, "") not in known and len(owners) == 1:
        return owners[0], key
    return (key, ""), key


def _group(
    name: str, options: Mapping[str, Any], samples: Sequence[InspectSample]
) -> tuple[tuple[str, str] | None, str | None, bool]:
    """Return the group that a metric covers, the metric inside, and whether it covers all groups."""
    group_key = options.get("group_key")
    if not isinstance(group_key, str):
        return None, None, False
    inner = str(as_mapping(options.get("metric")).get("name") or "").rpartition("/")[2] or None
    if any(str(sample.metadata.get(group_key)) == name for sample in samples):
        return (group_key, name), inner, False
    return None, inner, True


def _stderr(metrics: Mapping[str, Any], count: int | None, values: Sequence[float]) -> float | None:
    """Return the standard error; None if inspect's 0.0 means that it could not be computed."""
    stderr = parse_float(as_mapping(metrics.get("stderr") or metrics.get("bootstrap_stderr")).get("value"))
    if stderr is None or stderr < 0 or (count is not None and count < 2):  # noqa: PLR2004 one item has no spread
        return None
    # NOTE: logs of old versions do not count the items.
    if stderr == 0 and (count is None or len(set(values)) > 1):
        return None
    return stderr


def values_by_item(
    samples: Sequence[InspectSample], source: tuple[str, str], group: tuple[str, str] | None = None
) -> dict[str, list[float]]:
    """Return the values of each item, one for each epoch that has one.

    Args:
        samples: the samples.
        source: scorer and key of the values.
        group: property of the items and its value, to select a group.
    """
    by_item: dict[str, list[float]] = {}
    for sample in samples:
        if source in sample.values and (group is None or str(sample.metadata.get(group[0])) == group[1]):
            by_item.setdefault(sample.id, []).append(sample.values[source])
    return by_item


def item_values(metric: InspectMetric, samples: Sequence[InspectSample]) -> dict[int, float]:
    """Return the value of each sample; all epochs of an item have the same if they are not averaged.

    Args:
        metric: the metric.
        samples: the samples.

    Returns:
        Position of a sample → value; empty if the metric is not an average over items.
    """
    if metric.function not in _MEANS:
        return {}
    by_item = values_by_item(samples, metric.source, metric.group)
    if metric.reducer == "mean":
        return {
            position: sample.values[metric.source]
            for position, sample in enumerate(samples)
            if sample.id in by_item and metric.source in sample.values
        }
    reduce = _reducer(metric.reducer)
    if reduce is None:
        return {}
    reduced = {name: reduce(values) for name, values in by_item.items()}
    return {
        position: reduced[sample.id]
        for position, sample in enumerate(samples)
        if metric.source in sample.values and not math.isnan(reduced.get(sample.id, math.nan))
    }


def _reducer(name: str) -> Callable[[Sequence[float]], float] | None:
    """Return how inspect reduces the epochs of an item to one value; None for other reducers."""
    if name == "max":
        return max
    if name == "median":
        return statistics.median
    if (match := _COUNTED_REDUCER.fullmatch(name)) is None:
        return None
    kind, k = match[1], int(match[2])

    def counted(values: Sequence[float]) -> float:
        total, correct = len(values), sum(value >= 1 for value in values)
        if kind == "at_least":
            return float(correct >= k)
        if total < k or k < 1:
            return math.nan
        if kind == "pass_k":
            return math.comb(correct, k) / math.comb(total, k)
        return 1 - math.comb(total - correct, k) / math.comb(total, k)

    return counted
