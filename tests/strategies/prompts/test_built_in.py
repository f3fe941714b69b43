"""The corpora that come with Trimtab are what they say: pinned, well formed, and fit to be put into a prompt."""

import re
from datetime import date

import pytest

from trimtab.retrieval.documents import Filter
from trimtab.strategies.prompts.built_in import BUILT_IN, DEMONSTRATIONS, NORMS, BuiltInCorpus

FRAMES = re.compile(r"^\s*(Question|Query|Answer|Human|Assistant|User|#+ (Query|Answer)|CritiqueRequest)\s*:|<\|", re.MULTILINE)
"""What the strategies' own frames are made of."""

both = pytest.mark.parametrize("corpus", BUILT_IN.values(), ids=BUILT_IN)


@pytest.mark.parametrize(
    ("corpus", "version", "count", "sha256"),
    [
        (NORMS, 1, 163, "79e734b5bccf891cec3e47e40db065ac40976e2cea2af0675c56df76de4f06bc"),
        (DEMONSTRATIONS, 1, 76, "04997044aa3ee166d9c45a603936f43a35225250f63d00b1e37b311104266e91"),
    ],
)
def test_a_changed_text_is_a_new_version(corpus: BuiltInCorpus, version: int, count: int, sha256: str) -> None:
    """Whoever edits a file raises its version and pins both here: logs and caches name them."""
    assert (corpus.version, len(corpus.documents), corpus.sha256) == (version, count, sha256)


@both
def test_ids_and_texts_are_unique_and_vouched_for(corpus: BuiltInCorpus) -> None:
    documents = corpus.documents
    assert len({document.id for document in documents}) == len({document.text for document in documents}) == len(documents)
    for document in documents:
        assert re.fullmatch(r"[a-z0-9-]{3,64}", document.id)
        assert (document.trust, document.metadata["source"]) == ("trusted", "Trimtab")
        assert document.metadata["tags"]


@both
def test_no_text_speaks_the_language_of_a_frame(corpus: BuiltInCorpus) -> None:
    for document in corpus.documents:
        text = f"{document.text}\n{document.metadata.get('answer', '')}"
        assert not FRAMES.search(text), document.id
        assert all(character == "\n" or character.isprintable() for character in text), document.id
        assert not re.search("[\u200b-\u200f\u202a-\u202e\u2060-\u2064\ufeff]", text), document.id


def test_a_norm_is_a_short_rule() -> None:
    for norm in NORMS.documents:
        assert 8 <= len(norm.text.split()) <= 45, norm.id
        assert norm.text[-1] == "."


def test_norms_know_place_and_time() -> None:
    """112 holds in the Union and is no rule for the United States; 988 began on 16 July 2022; roaming ends in June 2032."""

    def found(where: Filter) -> set[str]:
        return {norm.id for norm in NORMS.documents if where.admits(norm)}

    american, european = found(Filter(jurisdiction=("US",))), found(Filter(jurisdiction=("EU",)))
    assert "emergency-112-eu" in european - american
    assert "emergency-911-us" in american - european
    assert "honesty-uncertain" in american & european
    assert "mind-988-us" not in found(Filter(valid_on=date(2022, 7, 15)))
    assert "mind-988-us" in found(Filter(valid_on=date(2022, 7, 16)))
    assert "money-roaming-eu" not in found(Filter(valid_on=date(2032, 7, 1)))


def test_a_rule_of_one_place_names_it() -> None:
    """Without a filter it may be retrieved for anybody, and must not read as if it held everywhere."""
    for norm in NORMS.documents:
        if "jurisdiction" in norm.metadata:
            assert re.match(r"(In|Within) (every|the|[A-Z])", norm.text), norm.id


def test_a_demonstration_answers_at_the_length_of_an_answer() -> None:
    for demonstration in DEMONSTRATIONS.documents:
        words = len(demonstration.metadata["answer"].split())
        assert 40 <= words <= 180, demonstration.id


def test_the_kinds_of_conversation_are_all_there() -> None:
    tags = [tag for demonstration in DEMONSTRATIONS.documents for tag in demonstration.metadata["tags"]]
    for tag in ("howto", "explanation", "writing", "code", "refusal", "uncertainty", "support", "contested", "maths", "health"):
        assert tags.count(tag) >= 3, tag
