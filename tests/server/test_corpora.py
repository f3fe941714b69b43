"""The corpora of a server, as strategies see them and as it closes them."""

import asyncio
import threading
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest

from tests.server.corpus_doubles import CountingWords, GatedWords, corpora_of
from tests.server.services import service_of
from tests.waiting import until
from trimtab.artifacts.errors import FetchFailed
from trimtab.retrieval.documents import Document, Filter
from trimtab.retrieval.errors import CorpusClosed, EncoderMismatch, NewerStore, RetrievalError, UnknownDocument
from trimtab.server.corpora import ServedCorpora
from trimtab.server.encoders import Encoders
from trimtab.server.errors import NotFound
from trimtab.server.settings import Settings
from trimtab.strategies.config import catalogue
from trimtab.strategies.core.config import RoleName, StrategyConfig
from trimtab.strategies.core.errors import CorpusNotFound, EngineUnavailable, RequestRefused, StrategyError
from trimtab.strategies.prompts.built_in import BUILT_IN


@pytest.fixture
async def corpora(tmp_path: Path) -> Any:
    made = corpora_of(tmp_path)
    yield made
    await made.close()


async def fill(corpora: ServedCorpora, *texts: str, name: str = "house") -> None:
    documents = [Document(text.split()[0], text) for text in texts]
    await corpora.write(lambda library: library.create(name).put(documents))


async def test_strategies_search_by_name(corpora: ServedCorpora) -> None:
    await fill(corpora, "hand wash your hands", "smoke no smoking here")
    hits = await corpora.search("house", "smoking", 1)
    assert [hit.document.id for hit in hits] == ["smoke"]
    assert await corpora.search("house", "smoking", 5, where=Filter(ids=("hand",))) != hits
    assert await corpora.size("house") == 2
    assert await corpora.size("default-norms") > 100


async def test_an_empty_corpus_has_no_hits_and_asks_no_encoder(tmp_path: Path) -> None:
    encoder = CountingWords()
    corpora = corpora_of(tmp_path, encoder)
    await corpora.write(lambda library: library.create("house"))
    assert (await corpora.search("house", "anything", 5), await corpora.size("house")) == ((), 0)
    assert encoder.texts == []
    await corpora.close()


async def test_an_unknown_corpus_blames_the_strategy_and_tells_the_nearest(corpora: ServedCorpora) -> None:
    await fill(corpora, "hand wash your hands")
    for work in (corpora.search("hause", "x", 1), corpora.size("hause")):
        with pytest.raises(CorpusNotFound, match="did you mean 'house'") as caught:
            await work
        assert (caught.value.param, caught.value.code) == ("alignment.strategy", "corpus_not_found")


async def test_the_end_of_a_huge_query_is_not_read(corpora: ServedCorpora) -> None:
    await fill(corpora, "hand wash your hands", "smoke no smoking here")
    hits = await corpora.search("house", "smoking " + "x" * 5_000_000, 1)
    assert [hit.document.id for hit in hits] == ["smoke"]


@pytest.mark.parametrize(
    ("raised", "kind", "code"),
    [
        (CorpusClosed("house"), CorpusNotFound, "corpus_not_found"),
        (UnknownDocument("house", "x"), NotFound, "document_not_found"),
        (EncoderMismatch("another encoder"), RequestRefused, "encoder_mismatch"),
        (NewerStore("too new"), EngineUnavailable, "corpora_unavailable"),
        (FetchFailed("no network"), EngineUnavailable, "corpora_unavailable"),
        (PermissionError("read-only"), EngineUnavailable, "corpora_unavailable"),
        (RetrievalError("whatever else"), EngineUnavailable, "corpora_unavailable"),
    ],
)
async def test_what_goes_wrong_below_has_a_status(
    corpora: ServedCorpora, raised: Exception, kind: type[Exception], code: str
) -> None:
    def work(_: object) -> None:
        raise raised

    with pytest.raises(kind, match=str(raised)) as caught:
        await corpora.read(work)
    assert getattr(caught.value, "code", None) == code


async def test_a_bug_stays_a_bug(corpora: ServedCorpora) -> None:
    def work(_: object) -> None:
        raise KeyError("a bug")

    with pytest.raises(KeyError):
        await corpora.read(work)


async def test_an_encoder_that_cannot_be_had_is_an_error_of_the_strategy(tmp_path: Path) -> None:
    """So that `on_error` decides what becomes of the request."""

    class Missing(CountingWords):
        def encode(self, texts: Any) -> Any:
            raise FetchFailed("no network")

    corpora = ServedCorpora(tmp_path, Encoders({"words": Missing()}, Missing))
    with pytest.raises(StrategyError, match="no network"):
        await corpora.search("default-norms", "x", 1)
    await corpora.close()


async def test_an_import_holds_up_no_search_and_is_ended_before_the_close(tmp_path: Path) -> None:
    gate = GatedWords("gated")
    corpora = corpora_of(tmp_path, CountingWords(), gate)
    await fill(corpora, "hand wash your hands")
    slow = [
        asyncio.create_task(
            corpora.write(lambda library, name=name: library.create(name, encoder="gated").put([Document("a", "text")]))
        )
        for name in ("one", "two", "three")
    ]
    await until(gate.entered.is_set)
    assert await corpora.search("house", "hands", 1)
    slow[0].cancel()
    closing = asyncio.create_task(corpora.close())
    await asyncio.sleep(0)
    assert not closing.done()
    gate.go.set()
    await closing
    await asyncio.wait(slow)
    again = corpora_of(tmp_path, CountingWords(), gate)
    assert await again.size("one") == 1
    await again.close()


async def test_closing_twice_is_closing_once_and_costs_a_server_without_corpora_nothing(tmp_path: Path) -> None:
    before = threading.active_count()
    corpora = corpora_of(tmp_path / "data")
    assert threading.active_count() == before
    await corpora.close()
    await corpora.close()
    assert not (tmp_path / "data").exists()


class Reading(StrategyConfig):
    """A strategy that reads a corpus."""

    kind: Literal["reading"] = "reading"
    corpus: str = "house"
    role: ClassVar[RoleName] = "shaper"


def test_a_strategy_names_its_corpus_by_its_field() -> None:
    assert Reading(corpus="ward").corpora() == ("ward",)
    assert catalogue()["value_prompt"]().corpora() == ()


async def test_what_configured_pipelines_read_is_open_before_the_first_request(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    encoder = CountingWords()
    service = service_of(Settings(pipelines={"careful": ["value_prompt"]}))
    service.corpora = corpora_of(tmp_path, encoder)
    await service.start()
    assert encoder.texts == []
    await service.corpora.warm(["nowhere", "default-norms"])
    assert "'nowhere'" in caplog.text
    assert len(encoder.texts) > len(BUILT_IN["default-norms"].documents)
    await service.close()


async def test_a_pipeline_of_norms_embeds_them_at_the_start(tmp_path: Path) -> None:
    encoder = CountingWords()
    service = service_of(Settings(pipelines={"careful": ["norms"]}))
    service.corpora = corpora_of(tmp_path, encoder)
    await service.start()
    assert len(encoder.texts) > len(BUILT_IN["default-norms"].documents)
    await service.close()
