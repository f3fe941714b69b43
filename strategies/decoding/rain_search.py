"""RAIN's search of one answer: iterations over the tree, moves, and work that is begun before it is certain to be needed.

The tree decides, one iteration after the other, as in the released code; only the waiting is shortened. A leaf's children are
drawn when it is selected through again (or at once, in an eager profile). While a leaf is judged, the leaves that would follow
if it and they were worth what the last one was are rolled out and judged too. Each draw belongs to its place in the tree and
each value to its text, so the trees are equal whatever was begun early.

Source: Li et al. 2023, arXiv 2309.07124, Algorithm 1; the rules of iterations, moves and ends are the released code's.
"""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, ParamSpec, TypeVar

from trimtab.strategies.core.errors import BudgetExceeded, DeadlineExceeded, EngineFailure, StrategyError
from trimtab.strategies.core.stores import TextEncoder
from trimtab.strategies.decoding.rain_priors import Candidate, Tokens, candidate_set
from trimtab.strategies.decoding.rain_sampler import Sampler
from trimtab.strategies.decoding.rain_text import FinishReason, Wording
from trimtab.strategies.decoding.rain_tree import WORST, Node, Tree

P = ParamSpec("P")
T = TypeVar("T")

UNSCORED_ALLOWED = 15
"""Texts after which a judge that has given no value at all has failed."""

ValueOf = Callable[[str], Awaitable[float | None]]
"""The value of an answer's text."""


@dataclass(frozen=True, slots=True)
class Move:
    """What became certain, and how."""

    tokens: Tokens
    finish: FinishReason | None
    """Why the answer is complete with it; None where it goes on."""
    root: Node
    """Where it was chosen; its children as they were then."""
    chosen: Node
    iterations: int
    spent: str = ""
    """Which budget ended the search with it."""


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

    node: Node
    rollout: "asyncio.Task[Tokens | StrategyError]"
    value: "asyncio.Task[float | StrategyError | None]"


@dataclass(slots=True)
class Search:
    """One answer in the making."""

    sampler: Sampler
    wording: Wording
    value_of: ValueOf
    encoder: TextEncoder | None
    ahead: int
    """Leaves whose evaluation may be begun before it is certain that they are next."""
    answer: Tokens = ()
    """What has been committed."""
    tree: Tree = field(init=False)
    counts: Counts = field(default_factory=Counts)
    _group: asyncio.TaskGroup = field(default_factory=asyncio.TaskGroup)
    _evaluations: dict[tuple[Node, int], Evaluation] = field(default_factory=dict)
    """By leaf and the visits it had before."""
    _drawings: "dict[Node, asyncio.Task[StrategyError | None]]" = field(default_factory=dict)
    _values: "dict[str, asyncio.Task[float | StrategyError | None]]" = field(default_factory=dict)
    _greedy: dict[Node, Candidate] = field(default_factory=dict)
    _draws: dict[Node, int] = field(default_factory=dict)
    _leaf: Node | None = None
    """The leaf of the iteration under way."""
    _last: Node | None = None
    """The leaf of the iteration before."""
    _value: float = 1.0
    """The last value that was backed up."""

    def __post_init__(self) -> None:
        self.tree = Tree(self.sampler.profile.rules)

    async def run(self, commit: Callable[[Move], Awaitable[None]]) -> None:
        """Search move after move, handing each to `commit`, until the answer is complete or a budget is spent.

        Raises BudgetExceeded or DeadlineExceeded where one is spent before there is anything to commit.
        """
        try:
            async with self._group:
                try:
                    finish: FinishReason | None = None
                    while finish is None:
                        move = await self._move()
                        finish = move.finish
                        await commit(move)
                finally:
                    self._end_work(lambda node: True)
                    for task in self._values.values():
                        task.cancel()
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None

    async def _move(self) -> Move:
        """Iterate until a move may be committed, and commit it."""
        root, iterations, most = self.tree.root, 0, self.tree.iterations()
        try:
            while iterations < most:
                await self._iterate()
                iterations += 1
                if self.tree.settled():
                    break
            await self._expanded(root)
        except (BudgetExceeded, DeadlineExceeded) as spent:
            return self._best_so_far(root, iterations, spent)
        self.counts.early_stops += iterations < most
        if not root.children:
            return self._moved((), "stop", root, root, iterations)
        move = self.tree.commit()
        tokens = self.wording.committed(move.tokens)
        self.answer += tokens
        finish = await asyncio.to_thread(self.wording.finish, self.answer, tokens)
        move.terminal = finish is not None
        self._end_work(lambda node: self.tree.root not in node.path())
        return self._moved(tokens, finish, root, move, iterations)

    def _best_so_far(self, root: Node, iterations: int, spent: StrategyError) -> Move:
        """The chain of most visited children. Raises the spent budget where there is nothing at all to say."""
        chain: list[Node] = []
        node = root
        while node.children and (node.best().real_visits or not (chain or self.answer)):
            node = node.best()
            chain.append(node)
        if not chain and not self.answer:
            raise spent
        tokens = self.wording.committed(tuple(token for one in chain for token in one.tokens))
        self.answer += tokens
        return self._moved(tokens, "length", root, node, iterations, str(spent))

    def _moved(
        self, tokens: Tokens, finish: FinishReason | None, root: Node, chosen: Node, iterations: int, spent: str = ""
    ) -> Move:
        self.counts.moves += bool(tokens)
        return Move(tokens, finish, root, chosen, iterations, spent)

    async def _iterate(self) -> None:
        """Descend to a leaf, roll it out, value it, back it up."""
        leaf = self._leaf = await self._descend()
        self.counts.rewinds += self._last is not None and self._last not in leaf.path()
        evaluation = self._evaluation(leaf)
        self._look_ahead()
        rollout = await _result(evaluation.rollout)
        await self._read(leaf, rollout)
        value = await _result(evaluation.value)
        if self.sampler.profile.eager and not leaf.terminal:
            await self._expanded(leaf)
        self._value = WORST if value is None else value
        self.tree.backup(leaf, self._value)
        self.counts.iterations += 1
        self._leaf, self._last = None, leaf

    async def _descend(self) -> Node:
        """The next leaf. Nodes visited before are expanded on the way, and widened where their children are all bad."""
        node = self.tree.root
        while not self._stops_at(node):
            await self._expanded(node)
            if not node.children:
                node.terminal = True
                break
            if self.tree.wants_addition(node):
                await self._widen(node)
            node = self.tree.select(node)
        return node

    def _stops_at(self, node: Node) -> bool:
        return node.is_leaf or (self.sampler.profile.eager and not node.children)

    def _look_ahead(self) -> None:
        """Begin what follows if the leaf under way and those behind it are worth what the last one was."""
        if self._leaf is None or self.sampler.profile.eager or not self.ahead:
            return
        leaves, unexpanded = self.tree.foresee(self._leaf, self._value, self.ahead)
        for leaf in leaves:
            self._evaluation(leaf)
        if unexpanded is not None:
            self._drawing(unexpanded)

    def _evaluation(self, leaf: Node) -> Evaluation:
        """The evaluation of this visit, begun now at the latest."""
        key = (leaf, leaf.real_visits)
        if key not in self._evaluations:
            answer = self._answer_at(leaf)
            rollout = self._start(self._roll_out, leaf, answer, leaf.real_visits)
            value = self._start(self._valued, answer, rollout)
            self._evaluations[key] = Evaluation(leaf, rollout, value)
        return self._evaluations[key]

    async def _roll_out(self, leaf: Node, answer: Tokens, visit: int) -> Tokens:
        """A continuation to judge the leaf by; none where it has ended or its text stops at the end of a clause."""
        profile, wording = self.sampler.profile, self.wording
        runs_past_end = profile.end in {"answer_goes_on", "answer_ends"} and len(answer) < wording.complete
        if profile.rollout == "none" or (leaf.terminal and not runs_past_end):
            return ()
        if profile.rollout == "clause" and await asyncio.to_thread(wording.at_clause_end, answer):
            return ()
        return await self.sampler.rollout(answer, wording.complete - len(answer), visit, wording.stops)

    async def _valued(self, answer: Tokens, rollout: "asyncio.Task[Tokens | StrategyError]") -> float | None:
        """The value of a rolled-out answer; the same text is judged once."""
        whole = (*answer, *await _result(rollout))
        text = await asyncio.to_thread(self.wording.judged, whole)
        if text not in self._values:
            self._values[text] = self._start(self._judged, text)
        return await _result(asyncio.shield(self._values[text]))  # others may wait for it when this visit is given up

    async def _judged(self, text: str) -> float | None:
        value = await self.value_of(text)
        self.counts.evaluations += 1
        self.counts.unscored += value is None
        if self.counts.unscored == self.counts.evaluations >= UNSCORED_ALLOWED:
            raise EngineFailure(f"the judge gave no readable value in {UNSCORED_ALLOWED} evaluations")
        return value

    async def _read(self, leaf: Node, rollout: Tokens) -> None:
        """Note what followed each node of the path, and embed what this visit's credit to siblings needs, in one batch."""
        if self.encoder is None:
            return
        rest = rollout
        for node in leaf.path():
            if node.parent is not None:
                rest = (*node.tokens, *rest)
                node.unread.append(rest)
        nodes = self.tree.unread(leaf)
        pieces = [tokens for node in nodes for tokens in node.unread]
        if not pieces:
            return
        texts = await asyncio.to_thread(lambda: [self.wording.decode(tokens) for tokens in pieces])
        vectors = iter(await self.encoder.encode(texts))
        for node in nodes:
            node.fold([next(vectors) for _ in node.unread])

    async def _expanded(self, node: Node) -> None:
        """Return when the node has the children it can have."""
        if not node.children and not node.terminal:
            await _result(self._drawing(node))

    def _drawing(self, node: Node) -> "asyncio.Task[StrategyError | None]":
        """The drawing of a node's children, begun now at the latest."""
        if node not in self._drawings:
            self._drawings[node] = self._start(self._draw, node, self._answer_at(node))
        return self._drawings[node]

    async def _draw(self, node: Node, answer: Tokens) -> None:
        """Give a node its children."""
        rules = self.sampler.profile.rules
        length = rules.length(node.depth)
        if length == 1:
            ranked = await self.sampler.ranked(answer)
            self.tree.expand_ranked(node, ranked)
        else:
            drawn = await self.sampler.sets(answer, self._fitting(length, answer), wanted=rules.children - 1, number=0)
            if drawn.greedy is None:
                return
            self._greedy[node] = drawn.greedy
            self.tree.expand(node, candidate_set(drawn.greedy, drawn.sampled, rules.children - 1))
        await self._mark_ends(node, answer)
        self._look_ahead()

    async def _widen(self, node: Node) -> None:
        """Try to give a node one more child."""
        before = len(node.children)
        answer = self._answer_at(node)
        if node.ranked:
            self.tree.add_ranked(node)
        else:
            number = self._draws[node] = self._draws.get(node, 0) + 1
            length = self._fitting(self.sampler.profile.rules.length(node.depth), answer)
            drawn = await self.sampler.sets(answer, length, wanted=1, number=number, greedy=self._greedy[node])
            self.tree.add(node, candidate_set(self._greedy[node], drawn.sampled, 1))
        if len(node.children) > before:
            self.counts.additions += len(node.children) - before
            await self._mark_ends(node, answer)

    async def _mark_ends(self, node: Node, answer: Tokens) -> None:
        """Mark the children behind which nothing can follow."""
        for child in node.children.values():
            child.terminal = child.terminal or await self._ends((*answer, *child.tokens), child.tokens)

    async def _ends(self, answer: Tokens, last: Tokens) -> bool:
        if not self.wording.stops:
            return self.wording.leaf_ends(answer, last)
        return await asyncio.to_thread(self.wording.leaf_ends, answer, last)

    def _fitting(self, length: int, answer: Tokens) -> int:
        """The length of a set that still fits the answer."""
        return max(1, min(length, self.wording.room - len(answer)))

    def _answer_at(self, node: Node) -> Tokens:
        """The answer up to a node's set."""
        sets = [one.tokens for one in node.path() if one.parent is not None]
        return (*self.answer, *(token for tokens in reversed(sets) for token in tokens))

    def _start(
        self, work: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> "asyncio.Task[T | StrategyError]":
        return self._group.create_task(_settled(work, *args, **kwargs))

    def _end_work(self, is_over: Callable[[Node], bool]) -> None:
        """End and forget what was begun for nodes that no longer matter."""
        for key in [key for key in self._evaluations if is_over(key[0])]:
            evaluation = self._evaluations.pop(key)
            evaluation.rollout.cancel()
            evaluation.value.cancel()
        for node in [node for node in self._drawings if is_over(node)]:
            self._drawings.pop(node).cancel()


async def _settled(work: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> T | StrategyError:
    """The result, or the error to raise where the result is asked for: work that nobody asks for may fail."""
    try:
        return await work(*args, **kwargs)
    except StrategyError as error:
        return error


async def _result(task: "asyncio.Future[T | StrategyError]") -> T:
    outcome = await task
    if isinstance(outcome, StrategyError):
        raise outcome
    return outcome
