"""A linear model over the words of a text, read from its file of weights: numbers, no pickle. Knows no sample and no scorer.

The file names its words by hashes alone, says where its weights come from and how well it was measured to tell toxic text.
`benchmarks/toxicity_classifier.py` writes and measures it.
"""

import base64
import binascii
import hashlib
import json
import math
import re
import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.resources import files
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from trimtab.server.evaluation.scorers.base import ScorerError

SHIPPED = "toxicity_weights.json"
_WORD = re.compile(r"\b\w\w+\b")

Floats = npt.NDArray[np.float32]
Hashes = npt.NDArray[np.uint32]
Share = Annotated[float, Field(ge=0, le=1)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Texts(_Part):
    """Some texts that a model was measured on."""

    name: str
    """What they are."""
    sha256: str
    """Of the file."""
    rows: Annotated[int, Field(ge=1)]


class Measured(_Part):
    """How well a model tells one kind of text from another; none of it was trained on."""

    higher: Texts
    """Whose probabilities should be higher."""
    lower: Texts
    auc: Share
    """Share of pairs of the two that it orders rightly, ties half."""
    low: Share
    """End of the 95% bootstrap interval over texts."""
    high: Share


class Origin(_Part):
    """Where weights come from."""

    library: str
    """Package and version."""
    licence: str
    sha256: dict[str, str]
    """File of the package -> its hash."""
    largest_difference: Share
    """Between its probabilities and those of these weights, on the texts below."""


class WeightsFile(_Part):
    """What a file of weights says."""

    version: Literal[1] = 1
    origin: Origin
    toxicity: Measured
    """On texts that are toxic and texts that mostly are not."""
    preference: Measured
    """On answers that people rejected as the more harmful one of two, and those that they chose."""
    bias: float
    hashes: str
    """CRC-32 of each word, ascending, little-endian uint32 in base64."""
    idf: str
    """Inverse document frequency of each word, float16 likewise."""
    weights: str
    """Of each word, in log-odds, float16 likewise."""


@dataclass(frozen=True, slots=True, eq=False)
class LinearWords:
    """A logistic model over tf-idf of words, scaled to length 1."""

    hashes: Hashes
    """(W,), ascending."""
    idf: Floats
    """(W,), above 0."""
    weights: Floats
    """(W,), log-odds."""
    bias: float

    def probability(self, text: str) -> float | None:
        """Between 0 and 1; None where the text has no word of the model."""
        counts = Counter(hash_of(word) for word in _WORD.findall(text.lower()))
        asked = np.fromiter(counts, np.uint32, len(counts))
        places = np.minimum(np.searchsorted(self.hashes, asked), len(self.hashes) - 1)
        known = self.hashes[places] == asked
        if not known.any():
            return None
        tf_idf = np.fromiter(counts.values(), np.float64, len(counts))[known] * self.idf[places[known]]
        logit = float(tf_idf @ self.weights[places[known]] / np.linalg.norm(tf_idf)) + self.bias
        return 1.0 / (1.0 + math.exp(-logit)) if logit >= 0 else math.exp(logit) / (1.0 + math.exp(logit))


def hash_of(word: str) -> int:
    """What stands for a word, 32 bits."""
    return zlib.crc32(word.encode(errors="replace"))


def packed(values: Iterable[float], kind: Literal["<u4", "<f2"]) -> str:
    """Numbers as a file of weights has them."""
    return base64.b64encode(np.array(list(values)).astype(kind).tobytes()).decode()


def shipped() -> bytes:
    """The file of weights that comes with this software."""
    return files("trimtab.server.evaluation.scorers").joinpath(SHIPPED).read_bytes()


def read_weights(content: bytes) -> tuple[WeightsFile, LinearWords]:
    """What a file says, and its model. Raises ScorerError where it is no such file, or no model."""
    try:
        said = WeightsFile.model_validate(json.loads(content))
        hashes, idf, weights = _unpacked(said.hashes, "<u4"), _unpacked(said.idf, "<f2"), _unpacked(said.weights, "<f2")
    except (ValidationError, ValueError, binascii.Error) as error:
        raise ScorerError(f"weights of the toxicity model: not readable: {error}") from error
    if not len(hashes) == len(idf) == len(weights) > 0:
        raise ScorerError(f"weights of the toxicity model: {len(hashes)} words, {len(idf)} frequencies, {len(weights)} weights")
    if not (np.all(hashes[1:] > hashes[:-1]) and np.all(idf > 0) and np.all(np.isfinite(idf)) and np.all(np.isfinite(weights))):
        raise ScorerError("weights of the toxicity model: hashes must ascend, frequencies be above 0, numbers be finite")
    return said, LinearWords(hashes.astype(np.uint32), idf.astype(np.float32), weights.astype(np.float32), said.bias)


def sha256_of(content: bytes) -> str:
    """Of a file, in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def _unpacked(text: str, kind: Literal["<u4", "<f2"]) -> npt.NDArray[Any]:
    return np.frombuffer(base64.b64decode(text, validate=True), dtype=kind)
