"""/v1/models: the default chat model first, aliases, embedding models, and names with a slash."""

import openai
import pytest

from tests.server.api.serving import scripted, serving


async def test_the_list_begins_with_the_default_chat_model_and_ends_with_embedding_models() -> None:
    async with serving(scripted(pipelines={"careful": ["value_prompt"]})) as server:
        models = (await server.openai.models.list()).data
    assert [model.id for model in models] == ["org/test-model", "org/test-model:careful", "all-MiniLM-L6-v2"]
    assert {model.object for model in models} == {"model"}
    cards = [model.model_extra["alignment"] for model in models if model.model_extra]
    assert [card["task"] for card in cards] == ["generate", "generate", "embed"]
    assert cards[0]["capabilities"]["n"] >= 1
    assert cards[1]["strategy"] == "careful"


@pytest.mark.parametrize("name", ["org/test-model", "org/test-model:careful"])
async def test_retrieve_takes_names_with_a_slash(name: str) -> None:
    async with serving(scripted(pipelines={"careful": ["value_prompt"]})) as server:
        assert (await server.openai.models.retrieve(name)).id == name
        assert (await server.http.get(f"/v1/models/{name}")).json()["id"] == name


async def test_an_unknown_model_is_404_and_named() -> None:
    async with serving(scripted()) as server:
        with pytest.raises(openai.NotFoundError) as caught:
            await server.openai.models.retrieve("org/test-modle")
    assert caught.value.code == "model_not_found"
    assert "did you mean 'org/test-model'" in caught.value.message
