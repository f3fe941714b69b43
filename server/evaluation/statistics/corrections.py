"""P-values of several comparisons, made larger for there being several."""

import numpy as np

from trimtab.server.evaluation.statistics.interval import Values, Vector, vector


def holm(ps: Values) -> tuple[float, ...]:
    """Adjusted p-values in the order given: below 0.05 = significant while any false alarm among all has 5 %.

    Valid whatever the comparisons have to do with one another. None in, none out. Raises ValueError for what is no p-value.
    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    found, order = _ascending(ps)
    raised = found[order] * np.arange(len(found), 0, -1)
    return _in_order(np.maximum.accumulate(raised), order)


def benjamini_hochberg(ps: Values) -> tuple[float, ...]:
    """Adjusted p-values in the order given: of those below 0.05, 5 % are expected to be false alarms.

    Valid for comparisons that are independent or positively dependent. None in, none out. Raises ValueError as `holm`.
    Source: Benjamini and Hochberg 1995, "Controlling the false discovery rate".
    """
    found, order = _ascending(ps)
    raised = found[order] * len(found) / np.arange(1, len(found) + 1)
    return _in_order(np.minimum.accumulate(raised[::-1])[::-1], order)


def _ascending(ps: Values) -> tuple[Vector, np.ndarray[tuple[int, ...], np.dtype[np.intp]]]:
    found = vector("ps", ps, least=0)
    outside = found[(found < 0) | (found > 1)]
    if len(outside):
        raise ValueError(f"ps holds {outside[0]}; a p-value lies between 0 and 1")
    return found, np.argsort(found, kind="stable")


def _in_order(ascending: Vector, order: np.ndarray[tuple[int, ...], np.dtype[np.intp]]) -> tuple[float, ...]:
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(ascending, 1.0)
    return tuple(float(p) for p in adjusted)
