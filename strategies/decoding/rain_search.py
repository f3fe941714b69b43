"""RAIN's search of one answer: iterations over the tree, and the moves that come of them.

The tree decides, one iteration after the other, as in the released code; only the waiting is shortened. A leaf's children are
drawn when it is selected through again (or at once, in an eager profile). While a leaf is judged, the work of the iterations
that would follow, if it and the next ones were worth what the last one was, has begun too. Each draw belongs to its place in
the tree and each value to its text, so the trees are equal whatever was begun early.

Source: Li et al. 2023, arXiv 2309.07124, Algorithm 1; the rules of iterations, moves and ends are the released code's.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from trimtab.strategies.core.errors import BudgetExceeded, DeadlineExceeded, StrategyError
from trimtab.strategies.core.stores import TextEncoder
from trimtab.strategies.decoding.rain_priors import Tokens
from trimtab.strategies.decoding.rain_sampler import Sampler
from trimtab.strategies.decoding.rain_text import FinishReason, Wording
from trimtab.strategies.decoding.rain_tree import WORST, Node, Tree
from trimtab.strategies.decoding.rain_work import Counts, ValueOf, Work, result

FIRST_TRUST = 2
"""Iterations that are foreseen at first, and again after a value that was not."""


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
class Search:
    """One answer in the making."""

    sampler: Sampler
    wording: Wording
    value_of: ValueOf
    encoder: TextEncoder | None
    ahead: int
    """Iterations whose work may be begun before it is certain that they come, at most."""
    answer: Tokens = ()
    """What has been committed."""
    counts: Counts = field(default_factory=Counts)
    tree: Tree = field(init=False)
    _work: Work = field(init=False)
    _leaf: Node | None = None
    """The leaf of the iteration under way."""
    _last: Node | None = None
    """The leaf of the iteration before."""
    _value: float = 1.0
    """The last value that was backed up: what the next one is taken for."""
    _left: int = 0
    """Iterations that the move may still take, that under way included."""
    _trust: int = field(init=False)
    """Iterations that are foreseen, at most `ahead`."""

    def __post_init__(self) -> None:
        self.tree = Tree(self.sampler.profile.rules)
        self._work = Work(self.tree, self.sampler, self.wording, self.value_of, self.counts, self._look_ahead)
        self._trust = min(FIRST_TRUST, self.ahead)

    async def run(self, commit: Callable[[Move], Awaitable[None]]) -> None:
        """Search move after move, handing each to `commit`, until the answer is complete or a budget is spent.

        Raises BudgetExceeded or DeadlineExceeded where one is spent before there is anything to commit.
        """
        try:
            async with self._work.group:
                try:
                    finish: FinishReason | None = None
                    while finish is None:
                        move = await self._move()
                        finish = move.finish
                        self.counts.moves += bool(move.tokens)
                        await commit(move)
                finally:
                    self._work.end_all()
        except BaseExceptionGroup as failed:
            raise failed.exceptions[0] from None

    async def _move(self) -> Move:
        """Iterate until a move may be committed, and commit it."""
        root, iterations, most = self.tree.root, 0, self.tree.iterations()
        try:
            while iterations < most:
                self._left = most - iterations
                await self._iterate()
                iterations += 1
                if self.tree.settled():
                    break
            await self._expand(root)
        except (BudgetExceeded, DeadlineExceeded) as spent:
            return await self._best_so_far(root, iterations, spent)
        if not root.children:
            return Move((), "stop", root, root, iterations)
        self.counts.early_stops += iterations < most
        move = self.tree.commit()
        tokens, finish = await self._say(move.tokens)
        move.terminal = finish is not None
        self._work.end(lambda node: self.tree.root not in node.path())
        return Move(tokens, finish, root, move, iterations)

    async def _best_so_far(self, root: Node, iterations: int, spent: StrategyError) -> Move:
        """The chain of most visited children. Raises the spent budget where there is nothing at all to say."""
        chain: list[Node] = []
        node = root
        while node.children and (node.best().real_visits or not (chain or self.answer)):
            node = node.best()
            chain.append(node)
        if not chain and not self.answer:
            raise spent
        tokens, finish = await self._say(tuple(token for one in chain for token in one.tokens))
        return Move(tokens, finish or "length", root, node, iterations, str(spent))

    async def _say(self, move: Tokens) -> tuple[Tokens, FinishReason | None]:
        """Make a move part of the answer: what of it counts, and why the answer is complete with it."""
        tokens = self.wording.committed(move)
        self.answer += tokens
        return tokens, await asyncio.to_thread(self.wording.finish, self.answer, tokens)

    async def _iterate(self) -> None:
        """Descend to a leaf, roll it out, value it, back it up."""
        leaf = self._leaf = await self._descend()
        self.counts.rewinds += self._last is not None and self._last not in leaf.path()
        evaluation = self._work.evaluation(leaf, self._answer_at(leaf))
        self._look_ahead()
        await self._read(leaf, await result(evaluation.rollout))
        value = await result(evaluation.value)
        if self.sampler.profile.eager and not leaf.terminal:
            await self._expand(leaf)
        self._back_up(leaf, WORST if value is None else value)

    def _back_up(self, leaf: Node, value: float) -> None:
        """Count the visit; what is begun ahead grows while values come as foreseen and shrinks when one does not."""
        self._trust = min(2 * self._trust, self.ahead) if value == self._value else min(FIRST_TRUST, self.ahead)
        self._value = value
        self.tree.backup(leaf, value)
        self.counts.iterations += 1
        self._leaf, self._last = None, leaf

    async def _descend(self) -> Node:
        """The next leaf. Nodes visited before are expanded on the way, and widened where their children are all bad."""
        node = self.tree.root
        while not self._stops_at(node):
            await self._expand(node)
            if not node.children:
                node.terminal = True
                break
            if self.tree.wants_addition(node):
                await self._work.widen(node, self._answer_at(node))
            node = self.tree.select(node)
        return node

    def _stops_at(self, node: Node) -> bool:
        return node.is_leaf or (self.sampler.profile.eager and not node.children)

    async def _expand(self, node: Node) -> None:
        """Return when the node has the children it can have."""
        if not node.children and not node.terminal:
            await result(self._work.drawing(node, self._answer_at(node)))

    def _look_ahead(self) -> None:
        """Begin what follows if the leaf under way and those behind it are worth what the last one was."""
        if self._leaf is None or self.sampler.profile.eager:
            return
        leaves, unexpanded = self.tree.foresee(self._leaf, self._value, self._trust, self._left)
        for leaf in leaves:
            self._work.evaluation(leaf, self._answer_at(leaf))
        for node in unexpanded:
            self._work.drawing(node, self._answer_at(node))

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

    def _answer_at(self, node: Node) -> Tokens:
        """The answer up to a node's set."""
        sets = [one.tokens for one in node.path() if one.parent is not None]
        return (*self.answer, *(token for tokens in reversed(sets) for token in tokens))
