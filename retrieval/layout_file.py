"""The file that keeps the making of an inverted file for the next start: everything but the vectors.

It may be stale or missing: numbers stand for one vector for ever, so what it says of a passage that is still there is true.
"""

import logging
import os
import zipfile
from pathlib import Path

import numpy as np

from trimtab.retrieval.ivf import Calibration, Layout

FILE = "index.npz"

_log = logging.getLogger(__name__)


def save_layout(directory: Path, identity: str, layout: Layout) -> None:
    """Writes a layout, in place of the one before at once."""
    fresh = directory / f"{FILE}.new"
    with fresh.open("wb") as file:
        np.savez(
            file,
            identity=np.asarray(identity),
            centroids=layout.centroids,
            reach=np.asarray(layout.reach),
            calibration=np.asarray([layout.calibration.size, *layout.calibration.probes]),
            numbers=layout.numbers,
            lists=layout.lists.astype(np.int32),
        )
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(directory / FILE)


def load_layout(directory: Path, identity: str, dimension: int) -> Layout | None:
    """The layout of the corpus of this identity; None where none is kept or it cannot be read."""
    path = directory / FILE
    if not path.exists():
        return None
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            if str(kept["identity"]) != identity or kept["centroids"].shape[1] != dimension:
                return None
            size, *probes = (int(value) for value in kept["calibration"])
            lists = kept["lists"].astype(np.int64)
            return Layout(kept["centroids"], float(kept["reach"]), Calibration(tuple(probes), size), kept["numbers"], lists)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        _log.warning("%s cannot be read and is made anew: %s", path, error)
        return None
