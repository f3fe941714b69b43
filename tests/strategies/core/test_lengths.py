"""Token counts: the tokenizer's own, or an estimate that says so."""

from tests.strategies.doubles import ListEngine, context
from trimtab.server.engines.scripted import ScriptedEngine
from trimtab.server.settings import ScriptedConfig
from trimtab.strategies.core.lengths import Lengths, token_lengths


async def test_the_policys_tokenizer_counts() -> None:
    ctx = context(policy=ScriptedEngine(ScriptedConfig(), name="m").ports)
    assert await token_lengths(["", "four", "é"], ctx) == Lengths((0, 4, 2), exact=True)


async def test_without_a_tokenizer_bytes_are_counted() -> None:
    assert await token_lengths(["", "four", "sixsix"], context(ListEngine([]))) == Lengths((0, 2, 2), exact=False)
