"""The work of a search: leaves rolled out and judged, children drawn; done once, ended when it no longer matters.

Work that was begun before it was certain to be needed may fail without harm: its error is raised where its result is asked for.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

from trimtab.strategies.core.errors import EngineFailure, StrategyError
from trimtab.strategies.decoding.rain_priors import Candidate, Tokens, candidate_set
from trimtab.strategies.decoding.rain_sampler import Sampler
from trimtab.strategies.decoding.rain_text import Wording
from trimtab.strategies.decoding.rain_tree import Node, Tree

P = ParamSpec("P")
T = TypeVar("T")

UNSCORED_ALLOWED = 15
"""Texts after which a judge that has given no value at all has failed."""

ValueOf = Callable[[str], Awaitable[float | None]]
"""The value of an answer's text."""


@dataclass(slots=True)
class Counts:
    """What a search did."""

    moves: int = 0
    iterations: int = 0
    evaluations: int = 0
    """Texts that were valued; the same text once."""
    early_stops: int = 0
    """Moves committed before their iterations were spent."""
    rewinds: int = 0
    """Iterations that left the branch of the one before."""
    additions: int = 0
    """Children added where all were bad and alike."""
    unscored: int = 0
    """Texts without a value; they count as the worst."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The rolling out of a leaf, and the value of what came of it."""

    rollout: "asyncio.Task[Tokens | StrategyError]"
    value: "asyncio.Task[float | StrategyError | None]"


@dataclass(slots=True)
class Work:
    """What is under way or done for the nodes of a tree."""

    tree: Tree
    sampler: Sampler
    wording: Wording
    value_of: ValueOf
    counts: Counts
    drawn: Callable[[], None]
    """Told whenever a node has got its children."""
    group: asyncio.TaskGroup = field(default_factory=asyncio.TaskGroup)
    _evaluations: dict[tuple[Node, int], Evaluation] = field(default_factory=dict)
    """By leaf and the visits it had before."""
    _drawings: "dict[Node, asyncio.Task[StrategyError | None]]" = field(default_factory=dict)
    _values: "dict[str, asyncio.Task[float | StrategyError | None]]" = field(default_factory=dict)
    _greedy: dict[Node, Candidate] = field(default_factory=dict)
    _draws: dict[Node, int] = field(default_factory=dict)

    def evaluation(self, leaf: Node, answer: Tokens) -> Evaluation:
        """The evaluation of the leaf's coming visit, begun now at the latest. answer: up to the leaf's set."""
        key = (leaf, leaf.real_visits)
        if key not in self._evaluations:
            rollout = self._start(self._roll_out, leaf, answer, leaf.real_visits)
            self._evaluations[key] = Evaluation(rollout, self._start(self._valued, answer, rollout))
        return self._evaluations[key]

    def drawing(self, node: Node, answer: Tokens) -> "asyncio.Task[StrategyError | None]":
        """The drawing of a node's children, begun now at the latest."""
        if node not in self._drawings:
            self._drawings[node] = self._start(self._draw, node, answer)
        return self._drawings[node]

    async def widen(self, node: Node, answer: Tokens) -> None:
        """Try to give a node one more child."""
        if node.ranked:
            ended = await self._ended(answer, node.pool)
            added = self.tree.add_ranked(node)
        else:
            number = self._draws[node] = self._draws.get(node, 0) + 1
            greedy, length = self._greedy[node], self._length(node, answer)
            drawn = await self.sampler.sets(answer, length, wanted=1, number=number, greedy=greedy)
            pool = candidate_set(greedy, drawn.sampled, 1)
            ended = await self._ended(answer, (*pool, *node.pool))
            added = self.tree.add(node, pool)
        self.counts.additions += added
        _mark(node, ended)

    def end(self, is_over: Callable[[Node], bool]) -> None:
        """End and forget what was begun for nodes that no longer matter."""
        for key in [key for key in self._evaluations if is_over(key[0])]:
            evaluation = self._evaluations.pop(key)
            evaluation.rollout.cancel()
            evaluation.value.cancel()
        for node in [node for node in self._drawings if is_over(node)]:
            self._drawings.pop(node).cancel()

    def end_all(self) -> None:
        """End everything."""
        self.end(lambda node: True)
        for task in self._values.values():
            task.cancel()

    async def _roll_out(self, leaf: Node, answer: Tokens, visit: int) -> Tokens:
        """A continuation to judge the leaf by; none where it has ended or its text stops at the end of a clause."""
        wording = self.wording
        if not await asyncio.to_thread(wording.may_roll_out, answer, ended=leaf.terminal):
            return ()
        return await self.sampler.rollout(answer, wording.complete - len(answer), visit, wording.stops)

    async def _valued(self, answer: Tokens, rollout: "asyncio.Task[Tokens | StrategyError]") -> float | None:
        """The value of a rolled-out answer; the same text is judged once."""
        whole = (*answer, *await result(rollout))
        text = await asyncio.to_thread(self.wording.judged, whole)
        if text not in self._values:
            self._values[text] = self._start(self._judged, text)
        return await result(asyncio.shield(self._values[text]))  # others may wait for it when this visit is given up

    async def _judged(self, text: str) -> float | None:
        value = await self.value_of(text)
        self.counts.evaluations += 1
        self.counts.unscored += value is None
        if self.counts.unscored == self.counts.evaluations >= UNSCORED_ALLOWED:
            raise EngineFailure(f"the judge gave no readable value in {UNSCORED_ALLOWED} evaluations")
        return value

    async def _draw(self, node: Node, answer: Tokens) -> None:
        """Give a node its children."""
        rules = self.sampler.profile.rules
        if rules.length(node.depth) == 1:
            ranked = await self.sampler.ranked(answer)
            ended = await self._ended(answer, ranked)
            self.tree.expand_ranked(node, ranked)
        else:
            drawn = await self.sampler.sets(answer, self._length(node, answer), wanted=rules.children - 1, number=0)
            if drawn.greedy is None:
                return
            self._greedy[node] = drawn.greedy
            pool = candidate_set(drawn.greedy, drawn.sampled, rules.children - 1)
            ended = await self._ended(answer, pool)
            self.tree.expand(node, pool)
        _mark(node, ended)
        self.drawn()

    async def _ended(self, answer: Tokens, candidates: Sequence[Candidate]) -> set[Tokens]:
        """The sets behind which nothing can follow. Known before they are children: nobody meets one that is not marked yet."""

        def look() -> set[Tokens]:
            return {one.tokens for one in candidates if self.wording.leaf_ends((*answer, *one.tokens), one.tokens)}

        return await asyncio.to_thread(look) if self.wording.stops else look()

    def _length(self, node: Node, answer: Tokens) -> int:
        """Tokens of a node's children: what the rules say, as far as the answer has room."""
        return max(1, min(self.sampler.profile.rules.length(node.depth), self.wording.room - len(answer)))

    def _start(
        self, work: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> "asyncio.Task[T | StrategyError]":
        return self.group.create_task(_settled(work, *args, **kwargs))


def _mark(node: Node, ended: set[Tokens]) -> None:
    for tokens, child in node.children.items():
        child.terminal = child.terminal or tokens in ended


async def _settled(work: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> T | StrategyError:
    """The result, or the error to raise where the result is asked for."""
    try:
        return await work(*args, **kwargs)
    except StrategyError as error:
        return error


async def result(task: "asyncio.Future[T | StrategyError]") -> T:
    """What work came to. Raises its error."""
    outcome = await task
    if isinstance(outcome, StrategyError):
        raise outcome
    return outcome
