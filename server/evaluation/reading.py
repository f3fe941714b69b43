"""Reading a letter off a model: the log-probabilities of the letters behind a prompt, in a layout its tokenizer can do."""

import string
from collections.abc import Awaitable, Callable, Sequence

from trimtab.server.evaluation.scorers.base import ScorerError
from trimtab.server.lines.answering import BATCH_PRIORITY
from trimtab.server.wire import new_id
from trimtab.strategies.core.budget import Budget
from trimtab.strategies.core.context import RequestContext, Step, Trace
from trimtab.strategies.core.engine import Params, Ports
from trimtab.strategies.core.errors import ConfigError
from trimtab.strategies.core.messages import Prompt
from trimtab.strategies.judging.readout import read_choice
from trimtab.strategies.prompts.judge import Layout

LETTERS = string.ascii_uppercase
"""Most options that can be told apart by a letter: 26."""


async def read_letters(
    ports: Ports, prompt_in: Callable[[Layout], Awaitable[Prompt]], layouts: Sequence[Layout], count: int
) -> tuple[float, ...]:
    """Raw log-probabilities, in nats, of the first `count` letters: one engine call, no sampling.

    prompt_in: the prompt that ends with a layout's tail. layouts: the first one is used in which each letter is one token.
    Raises ScorerError where the engine shows no tokens, ConfigError where no layout works, and what engines raise.
    """
    if ports.tokens is None:
        has = ", ".join(sorted(ports.names())) or "none"
        raise ScorerError(f"reading a letter needs an engine with the tokens port; this one has {has}")
    for layout in layouts[:-1]:
        try:
            return await _read(ports, await prompt_in(layout), layout, count)
        except ConfigError:
            continue
    return await _read(ports, await prompt_in(layouts[-1]), layouts[-1], count)


async def _read(ports: Ports, prompt: Prompt, layout: Layout, count: int) -> tuple[float, ...]:
    letters = [f"{layout.before}{letter}" for letter in LETTERS[:count]]
    return (await read_choice(prompt, letters, _context(ports))).logprobs


def _context(ports: Ports) -> RequestContext:
    """A request of the evaluation's own, without limits."""
    name = new_id("eval")
    step = Step("evaluation", "scorer")
    return RequestContext(name, {"policy": ports}, Params(), Budget(), Trace(name, "none"), step, priority=BATCH_PRIORITY)
