"""How many threads faiss uses for what one thread asks of it."""

from collections.abc import Iterator
from contextlib import contextmanager

import faiss


@contextmanager
def omp_threads(count: int) -> Iterator[None]:
    """Lets what this thread asks of faiss use so many threads; others are not concerned."""
    before = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(count)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(before)
