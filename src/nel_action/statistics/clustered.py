"""Items that are not independent: questions on one passage, variants of one template."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from nel_action.statistics.continuous import Guard, GuardedMean

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["clustered_evidence", "codes"]

_TURNED: Final = 0.25
"""A cluster that was not seen may lie this share of the whole range away: half of its items turned over."""


def codes(clusters: Sequence[str | None]) -> NDArray[np.int64] | None:
    """Number the clusters; an item without one is a cluster of its own. None where nothing is shared."""
    import numpy as np

    numbers: dict[object, int] = {}
    coded = [
        numbers.setdefault(place if cluster is None else cluster, len(numbers))
        for place, cluster in enumerate(clusters)
    ]
    return np.asarray(coded, dtype=np.int64) if len(numbers) < len(coded) else None


def clustered_evidence(
    values: NDArray[np.float64], cluster: NDArray[np.int64], bottom: float, top: float
) -> GuardedMean:
    """Return what clustered items say of their true mean.

    The variance is that of the clusters' sums with the factor C / (C - 1), and t has C - 1 degrees of freedom
    (Cameron and Miller, 2015; Miller, 2024, without the degrees of freedom).

    Args:
        values: one for each item.
        cluster: each item's cluster, numbered from 0.
        bottom: smallest value that an item can have.
        top: largest value that an item can have.

    Raises:
        ValueError: all items lie in one cluster.
    """
    import numpy as np

    n, count = len(values), int(cluster.max()) + 1
    if count < 2:  # noqa: PLR2004 - one cluster shows no spread between clusters
        msg = "all items lie in one cluster"
        raise ValueError(msg)
    mean = float(values.mean())
    centred = values - mean
    sums = np.bincount(cluster, centred)
    squares = float(sums @ sums) / count
    variance = squares * count / (count - 1) * count / n**2
    alone = float(centred @ centred) / (n - 1) / n
    # NOTE: as many independent items as would give this variance; with no spread to tell, no more than clusters.
    seen = min(float(n), max(float(count), n * alone / variance)) if variance > 0 else float(count)
    turned = _TURNED * (top - bottom)
    return GuardedMean(
        estimate=mean,
        spread=math.sqrt(variance),
        df=count - 1,
        skew=float((sums * sums) @ sums) / count / squares**1.5 / math.sqrt(count) if squares > 0 else 0.0,
        guards=(Guard(seen, mean - bottom, top - mean), Guard(count, turned, turned)),
        method=f"t over {count:,} clusters",
    )
