"""A quicker import of transformers' generation code, which every causal language model brings along.

Its assisted generation, which this engine does not use, imports scikit-learn where that is installed, and with it scipy and
pandas: more than a quarter of the time until the engine is ready.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from transformers import utils


def _absent() -> bool:
    return False


@contextmanager
def without_scikit_learn() -> Iterator[None]:
    """What is first imported inside takes scikit-learn for absent; what was imported before, or asks later, does not."""
    genuine = utils.is_sklearn_available
    utils.is_sklearn_available = _absent
    try:
        yield
    finally:
        utils.is_sklearn_available = genuine
