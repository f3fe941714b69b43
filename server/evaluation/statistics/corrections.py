"""P-values of several comparisons, made larger for there being several."""

import numpy as np

from trimtab.server.evaluation.statistics.interval import Values, vector


def holm(ps: Values) -> tuple[float, ...]:
    """Adjusted p-values in the order given: below 0.05 = significant while any false alarm among all has 5 %.

    Valid whatever the comparisons have to do with one another. None in, none out. Raises ValueError for what is no p-value.
    Source: Holm 1979, "A simple sequentially rejective multiple test procedure".
    """
    found = vector("ps", ps, least=0)
    outside = found[(found < 0) | (found > 1)]
    if len(outside):
        raise ValueError(f"ps holds {outside[0]}; a p-value lies between 0 and 1")
    order = np.argsort(found, kind="stable")
    adjusted = np.empty(len(order))
    adjusted[order] = np.minimum(np.maximum.accumulate(found[order] * np.arange(len(found), 0, -1)), 1.0)
    return tuple(float(p) for p in adjusted)
