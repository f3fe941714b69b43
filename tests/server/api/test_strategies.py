"""The catalogue of strategies and the version."""

from jsonschema import Draft202012Validator

from tests.server.api.serving import scripted, serving
from trimtab import __version__


async def test_the_catalogue_has_schemas() -> None:
    async with serving(scripted()) as server:
        entries = (await server.http.get("/v1/alignment/strategies")).json()["data"]
    kinds = {entry["kind"]: entry for entry in entries}
    assert {"plain", "value_prompt"} <= kinds.keys()
    for entry in entries:
        Draft202012Validator.check_schema(entry["schema"])
        assert entry["role"] in {"shaper", "decoder", "reviser"}
        assert entry["schema"]["properties"]["kind"]["const"] == entry["kind"]


async def test_one_strategy() -> None:
    async with serving(scripted()) as server:
        entry = (await server.http.get("/v1/alignment/strategies/value_prompt")).json()
        unknown = await server.http.get("/v1/alignment/strategies/value_promt")
    assert entry["kind"] == "value_prompt"
    assert unknown.status_code == 404
    assert unknown.json()["error"]["code"] == "strategy_not_found"


async def test_version() -> None:
    async with serving(scripted()) as server:
        assert (await server.http.get("/version")).json() == {"version": __version__}
