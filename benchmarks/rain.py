"""RAIN against the same search run one call after another, and against plain decoding; on vLLM, default model.

    python benchmarks/rain.py [--iterations 50] [--tokens 17] [--prompts 8] [--baseline-prompts 2]

The baseline (`_sequential_rain`) has the same rules, settings, judge and encoder, and the same engine with its prefix cache
off, batch 1: faster than a transformers loop, so the kinder choice. Forwarded tokens are all that the model computes, by the
engine's own count: prompts without what was cached, and what was generated, judgements included. Values come from
self-evaluation by the policy; with the value fixed at +1 the search is compared with plain decoding of as many tokens, in
engine steps and in time. Prompts are about as long as those of the released code.
"""

import argparse
import asyncio
import sys
import time
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field, replace
from statistics import mean
from typing import Any

import numpy as np
import numpy.typing as npt
from _ratios import ratio_line
from _sequential_rain import SequentialRain

from trimtab.artifacts import resolve
from trimtab.retrieval.encoder import Encoder
from trimtab.server.engines.vllm import VllmEngine
from trimtab.server.settings import VllmConfig
from trimtab.strategies.core.budget import Budget
from trimtab.strategies.core.context import RequestContext, Step, Trace
from trimtab.strategies.core.engine import Call, Params, Ports, TokenDelta, TokensPort
from trimtab.strategies.core.messages import Conversation, Message, Text
from trimtab.strategies.decoding.rain import RainConfig

MODEL = "smollm2-135m-instruct"
WINDOW = 4096
QUESTIONS = (
    "How can I keep my plants alive through a dark winter?",
    "My neighbour plays loud music at night. What should I do?",
    "What is a good way to learn to cook on a small budget?",
    "Can you explain to a child why the sky is blue?",
    "I am angry with my sister. How do I get even with her?",
    "What should I take along on a long walk in the mountains?",
    "How do I tell my boss that I made an expensive mistake?",
    "Is it safe to mix different cleaning products at home?",
)

BEFORE = (
    Message(
        "system",
        "You answer the helpline of a neighbourhood centre. People of all ages write to you about their homes, their gardens, "
        "their families and their work. Answer in plain words and in whole sentences. Say what to do first, then why. Where "
        "something could hurt somebody, say so and offer a safer way. Where a question needs a doctor, a lawyer or the fire "
        "brigade, say whom to call. Keep private matters private, do not take sides in quarrels, and do not guess at what you "
        "cannot know. If you are asked for something that would harm another person, decline kindly and ask what is behind it.",
    ),
    Message("user", "Hello! I moved in last week and the tap in my kitchen drips all night. Can I mend it myself?"),
    Message(
        "assistant",
        "Welcome to the neighbourhood! A dripping tap is usually a worn washer, and you can change it yourself. First turn off "
        "the water under the sink and open the tap until nothing runs. Then unscrew the handle, lift out the old washer, and "
        "take it to the hardware shop so that you get one of the same size. Put everything back in the same order and turn the "
        "water on slowly. If it still drips, the seat below the washer may be worn, and a plumber should look at it.",
    ),
    Message(
        "user", "That worked, thank you very much. The kitchen is quiet now. I have another question, if you have a moment."
    ),
    Message(
        "assistant", "I am glad to hear it, and well done for mending it yourself. Of course, what would you like to know?"
    ),
)
"""What is said before each question: with it prompts have about as many tokens as those of the released code (373)."""


@dataclass
class Counted:
    """A tokens port that counts what is asked and said."""

    inner: TokensPort
    asked: int = 0
    """Tokens of prompts, once a sample."""
    said: int = 0
    """Tokens generated."""

    @property
    def eos_token_ids(self) -> frozenset[int]:
        return self.inner.eos_token_ids

    def encode_chat(self, conversation: Conversation) -> tuple[int, ...]:
        return self.inner.encode_chat(conversation)

    def encode_text(self, text: Text) -> tuple[int, ...]:
        return self.inner.encode_text(text)

    def decode(self, token_ids: Sequence[int]) -> str:
        return self.inner.decode(token_ids)

    async def generate(self, prompt_token_ids: Sequence[int], params: Params, call: Call) -> AsyncGenerator[TokenDelta, None]:
        self.asked += params.n * len(prompt_token_ids)
        async with aclosing(self.inner.generate(prompt_token_ids, params, call)) as deltas:
            async for delta in deltas:
                self.said += len(delta.token_ids)
                yield delta

    async def next_logprobs(self, prompt_token_ids: Sequence[int], candidates: Sequence[int], call: Call) -> tuple[float, ...]:
        self.asked += len(prompt_token_ids)
        self.said += 1
        return await self.inner.next_logprobs(prompt_token_ids, candidates, call)


@dataclass
class OneByOne(Counted):
    """One call at a time: what asks for two at once waits."""

    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    async def generate(self, prompt_token_ids: Sequence[int], params: Params, call: Call) -> AsyncGenerator[TokenDelta, None]:
        async with self.turn, aclosing(Counted.generate(self, prompt_token_ids, params, call)) as deltas:
            async for delta in deltas:
                yield delta

    async def next_logprobs(self, prompt_token_ids: Sequence[int], candidates: Sequence[int], call: Call) -> tuple[float, ...]:
        async with self.turn:
            return await Counted.next_logprobs(self, prompt_token_ids, candidates, call)


@dataclass
class InThread:
    """The encoder as strategies see it."""

    encoder: Encoder

    async def encode(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        return await asyncio.to_thread(self.encoder.encode, texts)

    async def lengths(self, texts: Sequence[str]) -> tuple[int, ...]:
        return tuple(map(len, self.encoder.token_ids(texts)))


@dataclass(frozen=True)
class Measured:
    """One search."""

    seconds: float
    forwarded: int
    iterations: int
    tokens: int
    steps: int = 0


@asynccontextmanager
async def running(*, prefix_cache: bool) -> AsyncGenerator[VllmEngine, None]:
    """The engine, with Trimtab's settings on this machine."""
    args: dict[str, Any] = {} if prefix_cache else {"enable_prefix_caching": False}
    config = VllmConfig(max_model_len=WINDOW, dtype="bfloat16", kv_cache_gib=1.0, args=args)
    engine = VllmEngine(resolve(MODEL).path, config, name=MODEL)
    await engine.start()
    try:
        yield engine
    finally:
        await engine.close()


def asking(question: str) -> Conversation:
    return Conversation((*BEFORE, Message("user", question)))


def context_of(port: TokensPort, engine: VllmEngine, encoder: Encoder | None, params: Params, number: int) -> RequestContext:
    return RequestContext(
        request_id=f"bench-{number}",
        engines={"policy": Ports(tokens=port, capabilities=engine.capabilities)},
        params=params,
        budget=Budget(),
        trace=Trace(f"bench-{number}"),
        step=Step("rain", "decoder"),
        seed=number,
        encoder=InThread(encoder) if encoder else None,
    )


@dataclass
class Meter:
    """What the engine did inside the block, by its own counts."""

    engine: VllmEngine
    begin: float = 0.0
    before: Mapping[str, float] = field(default_factory=dict)
    seconds: float = 0.0

    def __enter__(self) -> "Meter":
        self.before, self.begin = dict(self.engine.metrics()), time.perf_counter()
        return self

    def __exit__(self, *_: object) -> None:
        self.seconds = time.perf_counter() - self.begin

    def of(self, name: str) -> int:
        return int(self.engine.metrics()[name] - self.before[name])

    @property
    def computed(self) -> int:
        """Prompt tokens that were not in the prefix cache."""
        return self.of("prefix_cache_queries_tokens") - self.of("prefix_cache_hits_tokens")


async def searched(
    engine: VllmEngine, encoder: Encoder | None, config: RainConfig, question: str, params: Params, number: int
) -> Measured:
    """One of our searches; its forwarded tokens are the engine's count, so right only while it is alone."""
    assert engine.ports.tokens is not None
    port = Counted(engine.ports.tokens)
    ctx = context_of(port, engine, encoder, params, number)
    tokens = 0
    with Meter(engine) as meter:
        async with aclosing(config.build().decode(asking(question), params, ctx)) as deltas:
            async for delta in deltas:
                tokens += len(delta.token_ids)
    return Measured(meter.seconds, meter.computed + port.said, ctx.step.details["iterations"], tokens, meter.of("steps"))


async def plain(engine: VllmEngine, question: str, tokens: int, number: int) -> Measured:
    """As many tokens, sampled one after the other."""
    assert engine.ports.tokens is not None
    port = Counted(engine.ports.tokens)
    params = Params(max_tokens=tokens, temperature=1.0, top_p=1.0, seed=number, ignore_eos=True)
    with Meter(engine) as meter:
        async with aclosing(port.generate(port.encode_chat(asking(question)), params, Call(f"plain-{number}"))) as deltas:
            async for _ in deltas:
                pass
    return Measured(meter.seconds, meter.computed + port.said, 0, port.said, meter.of("steps"))


async def sequential(
    engine: VllmEngine, encoder: Encoder | None, config: RainConfig, question: str, room: int, number: int
) -> Measured:
    """One search of the baseline."""
    assert engine.ports.tokens is not None
    port = OneByOne(engine.ports.tokens)
    ctx = context_of(port, engine, None, Params(), number)
    encode = encoder.encode if encoder else None
    search = SequentialRain(port, config.search().rules, config.judge.build(), encode, asking(question), room, number)
    begin = time.perf_counter()
    answer = await search.answer(ctx)
    return Measured(time.perf_counter() - begin, port.asked + port.said, search.iterations, len(answer))


def say(title: str, found: Sequence[Measured]) -> None:
    seconds, forwarded = mean(one.seconds for one in found), mean(one.forwarded for one in found)
    iterations = mean(one.iterations for one in found)
    print(
        f"{title:<34} {seconds:8.2f} s  {forwarded:10.0f} tokens forwarded  {iterations:6.1f} iterations  "
        f"{forwarded / max(iterations, 1):7.0f} tokens/iteration  {1000 * seconds / max(iterations, 1):7.1f} ms/iteration",
        flush=True,
    )


async def measure(args: argparse.Namespace) -> None:
    encoder = None if args.no_encoder else Encoder()
    if encoder is not None:
        encoder.encode(["warm"])
    config = RainConfig(max_iterations=args.iterations, ahead=args.ahead)
    good = RainConfig.model_validate({"value": "fixed", "ahead": args.ahead})
    params = Params(max_tokens=args.tokens)
    questions = [QUESTIONS[i % len(QUESTIONS)] for i in range(args.prompts)]
    async with running(prefix_cache=True) as engine:
        await searched(engine, encoder, replace_iterations(config, 2), "Are you warm?", Params(max_tokens=3), 999)
        alone = [
            await searched(engine, encoder, config, q, params, i) for i, q in enumerate(questions[: args.baseline_prompts])
        ]
        say("ours, one at a time", alone)
        with Meter(engine) as meter:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(searched(engine, encoder, config, q, params, 100 + i)) for i, q in enumerate(questions)
                ]
        together_s, beside = meter.seconds, [task.result() for task in tasks]
        iterations = sum(one.iterations for one in beside)
        print(
            f"ours, {len(questions)} at once: {together_s:.2f} s for {iterations} iterations, {meter.of('steps')} engine steps"
        )
        fixed, direct = [], []
        long = replace(params, max_tokens=args.plain_tokens, ignore_eos=True)
        for i, q in enumerate(questions[:4]):
            direct.append(await plain(engine, q, args.plain_tokens, i))
            fixed.append(await searched(engine, encoder, good, q, long, 200 + i))
    if args.only_ours:
        report_fixed(fixed, direct)
        return
    async with running(prefix_cache=False) as engine:
        await sequential(engine, encoder, replace_iterations(config, 2), "Are you warm?", 3, 999)
        theirs = []
        for i, q in enumerate(questions[: args.baseline_prompts]):
            theirs.append(await sequential(engine, encoder, config, q, args.tokens, i))
            print(f"baseline {i + 1}/{args.baseline_prompts}: {theirs[-1]}", file=sys.stderr, flush=True)
        say("one call after another", theirs)
    forwarded = [m.forwarded for m in alone], [m.forwarded for m in theirs]
    seconds = [m.seconds for m in alone], [m.seconds for m in theirs]
    print(ratio_line("forwarded tokens, theirs/ours", *forwarded, ">= 10", inverse=True))
    print(ratio_line("seconds, theirs/ours", *seconds, ">= 8", inverse=True))
    ours = sum(m.iterations for m in beside) / together_s
    rate = sum(m.iterations for m in theirs) / sum(m.seconds for m in theirs)
    title = f"iterations/s, {len(questions)} at once"
    print(f"{title:<34} ratio {ours / rate:6.2f}  ours {ours:8.3f}  theirs {rate:8.3f}  goal >= 15")
    ours, rate = len(questions) / together_s, len(theirs) / sum(m.seconds for m in theirs)
    title = f"answers/s, {len(questions)} at once"
    print(f"{title:<34} ratio {ours / rate:6.2f}  ours {ours:8.4f}  theirs {rate:8.4f}  goal >= 15")
    report_fixed(fixed, direct)


def report_fixed(fixed: Sequence[Measured], direct: Sequence[Measured]) -> None:
    say("value fixed at +1", fixed)
    print(ratio_line("engine steps, +1/plain", [m.steps for m in fixed], [m.steps for m in direct], "<= 3"))
    print(ratio_line("seconds, +1/plain", [m.seconds for m in fixed], [m.seconds for m in direct], "<= 7"))


def replace_iterations(config: RainConfig, iterations: int) -> RainConfig:
    return config.model_copy(update={"max_iterations": iterations})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=int, default=50, help="the paper's T")
    parser.add_argument("--tokens", type=int, default=17, help="longest answer of the searches")
    parser.add_argument("--prompts", type=int, default=8, help="searches at once")
    parser.add_argument(
        "--baseline-prompts", type=int, default=2, help="searches one after the other, of ours and of the baseline"
    )
    parser.add_argument("--plain-tokens", type=int, default=60, help="tokens of the answers with the value fixed at +1")
    parser.add_argument("--ahead", type=int, default=RainConfig().ahead)
    parser.add_argument("--no-encoder", action="store_true")
    parser.add_argument("--only-ours", action="store_true", help="leave the baseline out")
    asyncio.run(measure(parser.parse_args()))


if __name__ == "__main__":
    main()
