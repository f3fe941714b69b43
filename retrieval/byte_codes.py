"""Vectors with a byte for each number, for a first look at many of them.

Unit vectors are turned by a fixed random rotation first. It leaves inner products as they are and spreads what a few dimensions
may hold over all: then one step size suits every number of every vector, and rounding costs little.
"""

import faiss
import numpy as np

from trimtab.retrieval.encoding import Vectors

DEVIATIONS = 5
"""Turned, the numbers of a unit vector are spread like a normal distribution; what lies farther out is cut off."""
MOST = 127
FEW = 16
"""Vectors that are turned one by one."""


class ByteCodes:
    """The codes of unit vectors of one length. Codes are whole numbers from -127 to 127, as float32."""

    def __init__(self, dimension: int) -> None:
        turned = np.linalg.qr(np.random.default_rng(dimension).standard_normal((dimension, dimension)))[0]
        self._rows = np.ascontiguousarray(turned, dtype=np.float32)
        self._step = np.float32(min(1.0, DEVIATIONS / dimension**0.5) / MOST)

    def turned(self, vectors: Vectors) -> Vectors:
        """Vectors after the rotation, shape (n, dimension); few of them on this thread alone, as `Matrix.products`."""
        if len(vectors) > FEW:
            return np.ascontiguousarray(vectors @ self._rows.T)
        given = np.ascontiguousarray(vectors, dtype=np.float32)
        found = np.empty_like(given)
        for one, place in zip(given, found, strict=True):
            pointers = (faiss.swig_ptr(each) for each in (place, one, self._rows))
            faiss.fvec_inner_products_ny(*pointers, len(one), len(one))
        return found

    def stored(self, vectors: Vectors) -> Vectors:
        """Codes of vectors to be searched, all of one scale, shape (n, dimension)."""
        codes: Vectors = np.clip(np.rint(self.turned(vectors) / self._step), -MOST, MOST)
        return codes

    def query(self, vector: Vectors) -> Vectors:
        """The code of one vector to search for, shape (dimension,); its scale is its own, as only the order counts."""
        turned = self.turned(vector[None])[0]
        code: Vectors = np.rint(turned * np.float32(MOST / max(float(np.abs(turned).max()), 1e-12)))
        return code
