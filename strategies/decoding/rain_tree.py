"""The tree of RAIN's search: nodes, selection, backup with similarity credit, node addition, priors, moves.

It knows no engine, no text and no event loop: whoever drives it draws candidates, values leaves and embeds texts, in any order
and as lazily as it likes; the same draws and values make the same tree.

Source: Li et al. 2023, arXiv 2309.07124, section 3 and Algorithm 1, with the rules of the released code where the two differ.
Deviation from the paper, as released: values are rescaled to [0, 1] and an unvisited child counts as the worst; exploration
takes the square root of the parent's own visits; iterations count visits carried over from earlier moves; the most visited
child is committed, not sampled; the priors of a root's children are mixed with uniform ones.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from math import sqrt

import numpy as np
import numpy.typing as npt

from trimtab.strategies.decoding.rain_priors import Candidate, Tokens, mixed_with_uniform, normalised

Vector = npt.NDArray[np.float32]

WORST, BEST = -1.0, 1.0
"""Range of values; the released code lets it grow with what it meets, which stays inside."""
EPSILON = 1e-5


@dataclass(frozen=True, slots=True)
class Rules:
    """The numbers of the search."""

    lengths: tuple[int, ...] = (1, 2, 4, 10)
    """Tokens of a candidate set by depth; the last holds from there on."""
    children: int = 10
    """Candidates of an expansion."""
    max_children: int = 20
    """Children beyond which none is added; `children` = never any."""
    max_iterations: int = 50
    """Real visits of a root, those carried over included, after which a move is committed."""
    min_iterations: int = 15
    """New iterations of a move that may be spent however many visits were carried over."""
    min_visits: int = 6
    """Real visits of the best child above which a move may be committed early."""
    value_threshold: float = 0.8
    """Value of the best child above which a move may be committed early."""
    c_puct: float = 2.0
    """Weight of exploration."""
    gamma: float = 0.2
    """Weight of the credit for similar siblings."""
    similarity: float = 0.95
    """Cosine from which siblings are similar."""
    variance: float = 0.03
    """Norm of the embeddings' variance, per token of a child, below which children are too alike."""
    root_mix: float = 0.25
    """Share of the uniform distribution in the priors of a root's children."""

    def length(self, depth: int) -> int:
        """Tokens of the candidates of a node of this depth."""
        return self.lengths[min(depth, len(self.lengths) - 1)]


@dataclass(slots=True, eq=False)
class Node:
    """A set of tokens after those of its ancestors, and what the search knows of it."""

    tokens: Tokens = ()
    prior: float = 0.0
    parent: "Node | None" = None
    depth: int = 0
    """Sets from the first root; moves do not reset it."""
    visits: float = 0.0
    """Visits with the credit of similar siblings (n)."""
    real_visits: int = 0
    """Iterations that passed here (fn)."""
    value: float = 0.0
    """Mean of the values backed up (q), -1 to 1."""
    children: dict[Tokens, "Node"] = field(default_factory=dict)
    """In the order of insertion."""
    pool: tuple[Candidate, ...] = ()
    """What was drawn for its children, the latest first."""
    ranked: bool = False
    """Whether the pool is the most likely single tokens instead, best first."""
    embedding: Vector | None = None
    """Mean of its visits' embeddings."""
    embedded: int = 0
    """Visits in that mean."""
    unread: list[Tokens] = field(default_factory=list)
    """What followed in visits that are not in the mean yet, from its own first token on."""
    terminal: bool = False
    """Whether the answer ends with it: never expanded."""

    def path(self) -> Iterator["Node"]:
        """This node and its ancestors, up to the root."""
        node: Node | None = self
        while node is not None:
            yield node
            node = node.parent

    def siblings(self) -> Iterator["Node"]:
        """The other children of its parent."""
        return (node for node in self.parent.children.values() if node is not self) if self.parent else iter(())

    def best(self) -> "Node":
        """The most visited child, ties by value, then the first inserted; the likeliest where none was visited."""
        return max(self.children.values(), key=lambda one: (one.visits, one.value, 0.0 if one.visits else one.prior))

    @property
    def is_leaf(self) -> bool:
        """Whether a descent ends here, whatever was drawn for its children already."""
        return self.terminal or not self.real_visits

    def fold(self, vectors: Sequence[Vector]) -> None:
        """Take the embeddings of what is `unread`, in its order, into the mean."""
        for vector in vectors:
            self.embedded += 1
            if self.embedding is None:
                self.embedding = vector
            else:
                self.embedding = self.embedding + (vector - self.embedding) / np.float32(self.embedded)
        self.unread.clear()


@dataclass(slots=True)
class Tree:
    """One search: the root is what has been committed so far."""

    rules: Rules
    root: Node = field(default_factory=Node)

    def iterations(self) -> int:
        """Iterations that the coming move may take at most."""
        rules = self.rules
        return max(rules.max_iterations - self.root.real_visits, min(rules.min_iterations, rules.max_iterations))

    def settled(self) -> bool:
        """Whether the best child is good enough to be committed before the iterations are spent."""
        if not self.root.children:
            return False
        best = self.root.best()
        return best.real_visits > self.rules.min_visits and best.value > self.rules.value_threshold

    def select(self, node: Node) -> Node:
        """The child to visit: the best value plus exploration, ties to the first inserted."""
        reach = self.rules.c_puct * sqrt(node.visits)
        best, best_score = None, 0.0
        for child in node.children.values():
            score = child.prior * reach / (1 + child.visits)
            if child.visits:
                score += (child.value - WORST) / (BEST - WORST + EPSILON)
            if best is None or score > best_score:
                best, best_score = child, score
        if best is None:
            raise ValueError("a node without children has nothing to select from")
        return best

    def expand(self, node: Node, pool: Sequence[Candidate]) -> None:
        """Give a node its children, in the order drawn."""
        node.pool = tuple(pool)
        self._insert(node, node.pool)

    def expand_ranked(self, node: Node, ranked: Sequence[Candidate]) -> None:
        """Give a node children of one token each: the most likely ones, in the order of their ids.

        ranked: single tokens, best first; those beyond `rules.children` are kept for additions.
        """
        node.pool, node.ranked = tuple(ranked), True
        self._insert(node, sorted(ranked[: self.rules.children], key=lambda candidate: candidate.tokens))

    def wants_addition(self, node: Node) -> bool:
        """Whether a node's children are all visited, all bad and all alike, so that another one is worth a try."""
        children = list(node.children.values())
        if not 2 <= len(children) < self.rules.max_children:
            return False  # of a single child there is no variance
        if any(not child.real_visits for child in children) or max(child.value for child in children) >= 0:
            return False
        means = [child.embedding for child in children if child.embedding is not None]
        if len(means) < len(children):
            return True  # without an encoder nothing says how alike they are
        spread = float(np.linalg.norm(np.stack(means).var(axis=0, ddof=1)))
        return spread < self.rules.variance * len(children[0].tokens)

    def add(self, node: Node, drawn: Sequence[Candidate]) -> int:
        """Put new candidates before those known and insert what is new among the first; returns how many were inserted."""
        node.pool = (*drawn, *node.pool)
        return self._insert(node, node.pool[: len(node.children) + 1])

    def add_ranked(self, node: Node) -> int:
        """Insert the most likely token that is no child yet; returns how many were inserted."""
        return self._insert(node, sorted(node.pool[: len(node.children) + 1], key=lambda candidate: candidate.tokens))

    def unread(self, leaf: Node) -> list[Node]:
        """Nodes that must be read before a backup from this leaf, where similar siblings get credit.

        Only those beside a visited sibling: nobody ever looks at the embedding of any other.
        """
        found = []
        for node in leaf.path():
            visited = [sibling for sibling in node.siblings() if sibling.real_visits]
            if visited:
                found += [one for one in (node, *visited) if one.unread]
        return found

    def foresee(self, leaf: Node, value: float, steps: int) -> tuple[list[Node], Node | None]:
        """The leaves of the coming iterations, at most `steps`, if this leaf and they all had this value.

        Also the visited node without children at which foresight ends, if it does: it would have to be expanded. Credit to
        similar siblings is left out; nothing is changed.
        """
        before: dict[Node, tuple[float, int, float]] = {}
        leaves: list[Node] = []
        unexpanded: Node | None = None
        while len(leaves) < steps:
            for node in leaf.path():
                before.setdefault(node, (node.visits, node.real_visits, node.value))
                node.visits, node.real_visits = node.visits + 1, node.real_visits + 1
                node.value += (value - node.value) / node.visits
            leaf = self.root
            while leaf.children and not leaf.is_leaf:
                leaf = self.select(leaf)
            if not leaf.is_leaf:
                unexpanded = leaf
                break
            leaves.append(leaf)
        for node, known in before.items():
            node.visits, node.real_visits, node.value = known
        return leaves, unexpanded

    def backup(self, leaf: Node, value: float) -> None:
        """Count a visit of the leaf and its ancestors, bottom up, each after the credit to the siblings it resembles."""
        for node in leaf.path():
            node.visits += 1
            node.real_visits += 1
            if node.embedding is not None and node.parent is not None:
                self._credit(node, value)
            node.value += (value - node.value) / node.visits

    def commit(self) -> Node:
        """Make the best child the root, with everything below it. Raises ValueError where the root has no children."""
        if not self.root.children:
            raise ValueError("a root without children has no move")
        move = self.root.best()
        move.parent = None
        self.root = move
        if move.children:
            mixed = mixed_with_uniform([child.prior for child in move.children.values()], self.rules.root_mix)
            for child, prior in zip(move.children.values(), mixed, strict=True):
                child.prior = prior
        return move

    def _credit(self, node: Node, value: float) -> None:
        for sibling in node.siblings():
            if sibling.embedding is None or node.embedding is None:
                continue
            likeness = cosine(node.embedding, sibling.embedding)
            if likeness >= self.rules.similarity:
                weight = self.rules.gamma * likeness
                sibling.value = (sibling.value * sibling.visits + weight * value) / (sibling.visits + weight)
                sibling.visits += weight

    def _insert(self, node: Node, candidates: Sequence[Candidate]) -> int:
        """Insert those that are no child yet, with priors among all of `candidates`."""
        priors = normalised([candidate.probability for candidate in candidates])
        if node.parent is None:
            priors = mixed_with_uniform(priors, self.rules.root_mix)
        before = len(node.children)
        for candidate, prior in zip(candidates, priors, strict=True):
            if candidate.tokens not in node.children:
                node.children[candidate.tokens] = Node(candidate.tokens, prior, node, node.depth + 1)
        return len(node.children) - before


def cosine(a: Vector, b: Vector) -> float:
    """Cosine of the angle between two vectors; 0 where one vanishes."""
    norms = float(np.linalg.norm(a) * np.linalg.norm(b))
    return float(a @ b) / norms if norms else 0.0
