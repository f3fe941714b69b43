"""What trivial scorers reach on preference pairs: the bars that a trained reward model has to clear.

It knows texts only: no model, tokenizer or view. Each baseline answers with a margin a pair, so that it can be compared pair by
pair with any other scorer (`evaluation.paired_difference` of the `outcomes`).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from trimtab.training.errors import DataError
from trimtab.training.evaluation import Estimate, Values, accuracy, outcomes

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix  # type: ignore[import-untyped]

PairText = tuple[str, str, str]
"""Prompt, chosen answer and rejected answer as plain text."""

STRENGTHS = (0.01, 0.03, 0.1, 0.3, 1.0, 3.0)
"""Inverse regularisation strengths that the bag of words chooses from."""
FOLDS = 5


@dataclass(frozen=True, slots=True)
class Baseline:
    """How a scorer without a language model orders held-out pairs."""

    margins: tuple[float, ...]
    """By how much it puts the chosen answer before the rejected one, a pair each; 0 = a tie."""
    accuracy: Estimate
    """Share of pairs ordered as people did, ties half."""

    @property
    def outcomes(self) -> tuple[float, ...]:
        """1 for a pair ordered as people did, 0.5 for a tie, 0 otherwise."""
        return tuple(outcomes(self.margins, np.zeros(len(self.margins))).tolist())


def length_rule(pairs: Sequence[PairText]) -> Baseline:
    """The shorter answer wins, by characters; equal lengths are a tie."""
    return _baseline([len(rejected) - len(chosen) for _, chosen, rejected in pairs])


def bag_of_words(train: Sequence[PairText], held_out: Sequence[PairText], *, seed: int = 0) -> Baseline:
    """A logistic regression on the difference of the two answers' TF-IDF vectors (single words), fitted on `train`.

    It has no intercept and sees each difference with both signs, so exchanging the answers of a pair negates its margin. The
    regularisation is chosen among `STRENGTHS` by cross-validation on `train`; `seed` decides which pairs share a fold.
    The prompt is not used: it is the same on both sides and cancels.
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    if not train or not held_out:
        raise DataError(f"a bag of words needs pairs to learn from and to order, not {len(train)} and {len(held_out)}")
    vectors = TfidfVectorizer(token_pattern=r"(?u)\b\w+\b")
    try:
        vectors.fit(_answers(train, 1) + _answers(train, 2))
    except ValueError as error:  # the only complaint it has about a list of strings
        raise DataError("no answer of the training pairs holds a word") from error
    known, new = (vectors.transform(_answers(p, 1)) - vectors.transform(_answers(p, 2)) for p in (train, held_out))
    return _baseline(new @ _direction(known, _best_strength(known, seed)))


def _baseline(margins: Sequence[float] | Values) -> Baseline:
    values = np.asarray(margins, dtype=np.float64)
    return Baseline(tuple(values.tolist()), accuracy(values, np.zeros(len(values))))


def _answers(pairs: Sequence[PairText], side: int) -> list[str]:
    return [pair[side] for pair in pairs]


def _best_strength(differences: "csr_matrix", seed: int) -> float:
    """The strength that orders most left-out pairs; the strongest regularisation among equals."""
    count = differences.shape[0]
    if count < FOLDS:
        return 1.0
    folds = np.array_split(np.random.default_rng(seed).permutation(count), FOLDS)
    return max(STRENGTHS, key=lambda strength: sum(_right(differences, fold, strength) for fold in folds))


def _right(differences: "csr_matrix", fold: NDArray[np.int64], strength: float) -> float:
    kept = np.setdiff1d(np.arange(differences.shape[0]), fold)
    margins = differences[fold] @ _direction(differences[kept], strength)
    return float(outcomes(margins, np.zeros(len(fold))).sum())


def _direction(differences: "csr_matrix", strength: float) -> Values:
    """Weights of the words, (vocabulary,)."""
    from scipy.sparse import vstack
    from sklearn.linear_model import LogisticRegression

    count = differences.shape[0]
    labels = np.repeat([1, 0], count)
    model = LogisticRegression(C=strength, fit_intercept=False, max_iter=1000)
    weights: Values = model.fit(vstack([differences, -differences]), labels).coef_[0]
    return weights
