"""RAIN as its released code runs it: one call after another, no keys and values kept between calls, nothing in a batch.

The rules of the tree are the product's own, so that both search alike; what is called, and when, is written here.
"""

from collections.abc import Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from math import prod

import numpy as np
import numpy.typing as npt

from trimtab.strategies.core.context import RequestContext
from trimtab.strategies.core.engine import Call, Params, TokenDelta, TokensPort
from trimtab.strategies.core.messages import Conversation
from trimtab.strategies.decoding.rain_priors import Candidate, Tokens, candidate_set, renormalised
from trimtab.strategies.decoding.rain_profile import CLAUSE_ENDS
from trimtab.strategies.decoding.rain_sampler import NEUTRAL, RANKED
from trimtab.strategies.decoding.rain_tree import Node, Rules, Tree
from trimtab.strategies.judging.value import Judged, ValueFunction

TOP_K = 15

Encode = Callable[[Sequence[str]], npt.NDArray[np.float32]]


@dataclass
class SequentialRain:
    """One search at a time."""

    port: TokensPort
    rules: Rules
    value: ValueFunction
    """Judges one order of the options after the other where the port behind it answers one call at a time."""
    encode: Encode | None
    asked: Conversation
    room: int
    seed: int = 0
    iterations: int = 0

    async def answer(self, ctx: RequestContext) -> Tokens:
        """The whole answer."""
        self.prompt = self.port.encode_chat(self.asked)
        self.values: dict[str, float] = {}
        self.ends = self.port.eos_token_ids
        tree, answer = Tree(self.rules), ()
        while len(answer) < self.room and not (answer and answer[-1] in self.ends):
            for _ in range(tree.iterations()):
                await self._iterate(tree, answer, ctx)
                self.iterations += 1
                if tree.settled():
                    break
            answer += tree.commit().tokens
        return answer

    async def _iterate(self, tree: Tree, answer: Tokens, ctx: RequestContext) -> None:
        node, state = tree.root, answer
        while node.children:
            if tree.wants_addition(node):
                await self._widen(tree, node, state)
            node = tree.select(node)
            state += node.tokens
        node.terminal = len(state) >= self.room or (bool(state) and state[-1] in self.ends)
        rollout = () if node.terminal else await self._roll_out(state)
        text = self.port.decode((*state, *rollout))
        if text not in self.values:
            value = (await self.value.values([Judged(self.asked, text)], ctx))[0]
            self.values[text] = -1.0 if value is None else value
        if not node.terminal:
            await self._expand(tree, node, state)
        rest = rollout
        for one in node.path():
            if one.parent is not None:
                rest = (*one.tokens, *rest)
                if self.encode is not None:
                    one.fold(list(self.encode([self.port.decode(rest)])))
        tree.backup(node, self.values[text])

    async def _expand(self, tree: Tree, node: Node, state: Tokens) -> None:
        length = min(self.rules.length(node.depth), self.room - len(state))
        if self.rules.length(node.depth) == 1:
            likeliest = replace(NEUTRAL, max_tokens=1, temperature=0.0, logprobs=RANKED, ignore_eos=True)
            top = dict((await self._sample(state, likeliest))[0].top_logprobs[0])
            best = sorted(top, key=lambda token: -top[token])[:RANKED]
            tree.expand_ranked(node, [Candidate((token,), renormalised(top[token], top, RANKED)) for token in best])
            return
        drawn = [await self._set(state, length, number) for number in range(self.rules.children)]
        tree.expand(node, candidate_set(drawn[0], drawn[1:], self.rules.children - 1))

    async def _widen(self, tree: Tree, node: Node, state: Tokens) -> None:
        if node.ranked:
            tree.add_ranked(node)
            return
        length = min(self.rules.length(node.depth), self.room - len(state))
        drawn = [await self._set(state, length, number) for number in (0, 1000 + node.real_visits)]
        tree.add(node, candidate_set(drawn[0], drawn[1:], 1))

    async def _set(self, state: Tokens, length: int, number: int) -> Candidate:
        """The greedy set (number 0) or a sampled one."""
        seed = hash((self.seed, state, number)) & 0x7FFFFFFF
        drawn = replace(NEUTRAL, max_tokens=length, top_k=TOP_K, logprobs=TOP_K, seed=seed)
        greedy = replace(drawn, temperature=0.0, top_k=0, seed=None)
        sample = await self._sample(state, drawn if number else greedy)
        steps = [pair for delta in sample for pair in zip(delta.logprobs, delta.top_logprobs, strict=True)]
        tokens = tuple(token for delta in sample for token in delta.token_ids)
        return Candidate(tokens, prod(renormalised(own, top, TOP_K) for own, top in steps))

    async def _roll_out(self, state: Tokens) -> Tokens:
        if self.port.decode((*self.prompt, *state)[-6:])[-1:] in CLAUSE_ENDS:
            return ()
        params = replace(NEUTRAL, max_tokens=self.room - len(state), seed=hash((self.seed, state)) & 0x7FFFFFFF)
        tokens: Tokens = ()
        async with aclosing(self.port.generate((*self.prompt, *state), params, Call("sequential"))) as deltas:
            async for delta in deltas:
                tokens += delta.token_ids
                if delta.text[-1:] in CLAUSE_ENDS:
                    break
        return tokens

    async def _sample(self, state: Tokens, params: Params) -> list[TokenDelta]:
        async with aclosing(self.port.generate((*self.prompt, *state), params, Call("sequential"))) as deltas:
            return [delta async for delta in deltas]
