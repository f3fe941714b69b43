"""Views: what each method sees of a row, as pure functions from a row to examples.

demo            the answer to learn                         sft, lima, rest, reward_weighted with weights
pair            better and worse answer                     reward, dpo, ipo, kto's pairs, orpo, simpo, cpl
pair_with_gold  the same and the answer to keep likely      slic
list            all answers, the best first                 rrhf, pro, pl, stable, choice, K-way reward
scored          one answer with its number                  value, reward_weighted, rest
unpaired        one answer, wanted or not                   kto, safe_align
wanted          those that are wanted                       safe_align's warm-up
prompts         no answer                                   ppo, rloo, grpo, rest's growth
edit, identity  a draft, corrected or copied                aligner
hindsight       answers behind markers of their worth       coh
second_thoughts a draft, its edits and the result           second_thoughts
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, Protocol

from trimtab.training.data.choices import best, labels_of, preferences_of, scores_of, trained
from trimtab.training.data.editing import Edited, Identity, SecondThoughts
from trimtab.training.data.examples import Example
from trimtab.training.data.hindsight import Hindsight
from trimtab.training.data.rows import Kind, Preference, Response, Row
from trimtab.training.data.templates import RowTokenizer
from trimtab.training.data.tokens import Tokens, Unusable, shared
from trimtab.training.errors import ConfigInvalid, DataError

Form = Literal["policy", "scorer"]
"""Whether answers are tokenised up to their end of turn, to be learned, or whole, as a scorer sees them."""


class View(Protocol):
    """What a method sees of rows."""

    def __call__(self, row: Row, tokenizer: RowTokenizer, /) -> Sequence[Example]:
        """The row's examples, at whatever length. Raises Unusable; DataError where the data as a whole do not fit the view."""
        ...


@dataclass(frozen=True, slots=True)
class Demo:
    """One example for the answer to learn (one for each of a kind, where a kind is asked for)."""

    turns: Literal["completion", "assistant", "last"] = "completion"
    """What counts: the row's response, every assistant turn (the prompt's too), or the last one alone."""
    prompt_weight: float = 0.0
    """How much every other token counts, from 0 to 1."""
    kind: Kind | None = None
    """Learn every answer of this kind in place of the best one."""

    def __post_init__(self) -> None:
        if not 0 <= self.prompt_weight <= 1:
            raise ConfigInvalid(f"prompt_weight is {self.prompt_weight}; it must lie between 0 and 1")

    def __call__(self, row: Row, tokenizer: RowTokenizer, /) -> Sequence[Example]:
        """A single branch each; with a prompt weight the prompt is the first token alone, the rest stands in the branch."""
        tokenise = {"completion": tokenizer.answer, "assistant": tokenizer.dialogue, "last": tokenizer.last_turn}[self.turns]
        chosen = best(row, self.kind)
        return [self._example(row, one, tokenise(row.prompt, one.content)) for one in chosen]

    def _example(self, row: Row, response: Response, tokens: Tokens) -> Example:
        whole = tokens.floored(self.prompt_weight) if self.prompt_weight else tokens
        return of_row(shared([whole]), row, [response])


@dataclass(frozen=True, slots=True)
class Pair:
    """An example for each strict order between two answers: (better, worse)."""

    form: Form = "policy"
    of_lists: Literal["all", "extremes"] = "all"
    """Which pairs a list gives: every strict order, or the best against the worst."""

    def __call__(self, row: Row, tokenizer: RowTokenizer, /) -> Sequence[Example]:
        """Two branches, the likelier winner first."""
        return [_pair(row, one, (), self.form, tokenizer) for one in self._preferences(row)]

    def _preferences(self, row: Row) -> tuple[Preference, ...]:
        found = _ordered(row)
        if self.of_lists == "all" or row.preferences:
            return found
        numbers = [response.score if response.score is not None else -(response.rank or 0) for response in row.responses]
        return (max(found, key=lambda one: numbers[one.a] - numbers[one.b]),)


@dataclass(frozen=True, slots=True)
class PairWithGold:
    """The same with a third branch: the response of kind gold, or the better one where the row has none."""

    form: Form = "policy"

    def __call__(self, row: Row, tokenizer: RowTokenizer, /) -> Sequence[Example]:
        """Three branches: better, worse, gold."""
        gold = next((response for response in trained(row) if response.kind == "gold"), None)
        preferences = [one for one in _ordered(row) if gold not in (row.responses[one.a], row.responses[one.b])]
        return [_pair(row, one, (gold or row.responses[one.a],), self.form, tokenizer) for one in preferences or _ordered(row)]


@dataclass(frozen=True, slots=True)
class Ranked:
    """One example for all answers of a row, the best first; ties keep their order and their equal scores."""

    form: Form = "policy"

    def __call__(self, row: Row, tokenizer: RowTokenizer, /) -> Sequence[Example]:
        """A branch an answer, each with its score; of a pair they are 1 and 0. Raises DataError where scores are missing."""
        responses = trained(row)
        if len(responses) < 2:
            raise Unusable(f"a list needs two responses, it has {len(responses)}")
        scores = scores_of(row, responses)
        if scores is None:
            raise DataError(f"line {row.line}: scores missing for pro and the other list methods: each response needs a score")
        order = sorted(range(len(responses)), key=lambda place: -scores[place])
        best_first = [replace(responses[place], score=scores[place]) for place in order]
        return [_example(row, best_first, self.form, tokenizer)]


@dataclass(frozen=True, slots=True)
class Scored:
    """An example for each answer that has a score, or a label in place of one (1 and 0)."""

    form: Form = "policy"

    def __call__(self, row: Row, tokenizer: RowTokenizer, /) -> Sequence[Example]:
        """A single branch with its score each. Raises DataError where scores are missing."""
        if not trained(row):
            raise Unusable("has no response")
        with_scores = [_with_score(response) for response in trained(row)]
        if any(response.score is None for response in with_scores):
            raise DataError(f"line {row.line}: scores missing for value and the other regression methods")
        return [_example(row, [response], self.form, tokenizer) for response in with_scores]


@dataclass(frozen=True, slots=True)
class Unpaired:
    """An example for each answer that is wanted or not; a pair gives two."""

    form: Form = "policy"

    def __call__(self, row: Row, tokenizer: RowTokenizer, /) -> Sequence[Example]:
        """A single branch with its label each."""
        known = [replace(row.responses[place], label=label) for place, label in labels_of(row).items()]
        if not known:
            raise Unusable("does not say of any response whether it is wanted")
        return [_example(row, [one], self.form, tokenizer) for one in known]


@dataclass(frozen=True, slots=True)
class Wanted:
    """An example for each answer that is wanted; a row of none gives none."""

    form: Form = "policy"

    def __call__(self, row: Row, tokenizer: RowTokenizer, /) -> Sequence[Example]:
        """A single branch with its label each."""
        return [one for one in Unpaired(self.form)(row, tokenizer) if one.branches[0].label]


@dataclass(frozen=True, slots=True)
class Prompts:
    """One example for the prompt alone."""

    def __call__(self, row: Row, tokenizer: RowTokenizer, /) -> Sequence[Example]:
        """No branch."""
        ids = tokenizer.prompt(row.prompt)
        if not ids:
            raise Unusable("has no prompt")
        return [Example(ids, (), line=row.line)]


VIEWS: Final[Mapping[str, View]] = {
    "demo": Demo(),
    "pair": Pair(),
    "pair_with_gold": PairWithGold(),
    "list": Ranked(),
    "scored": Scored(),
    "unpaired": Unpaired(),
    "wanted": Wanted(),
    "prompts": Prompts(),
    "edit": Edited(),
    "identity": Identity(),
    "hindsight": Hindsight(),
    "second_thoughts": SecondThoughts(),
}
"""Every view at its defaults."""


def of_row(example: Example, row: Row, responses: Sequence[Response]) -> Example:
    """The example with its row's line, and of each branch the response's score and label; the mean weight of the responses."""
    branches = (
        replace(branch, score=response.score, label=response.label)
        for branch, response in zip(example.branches, responses, strict=True)
    )
    weight = sum(response.weight for response in responses) / len(responses)
    return replace(example, branches=tuple(branches), weight=weight, line=row.line)


def _example(row: Row, responses: Sequence[Response], form: Form, tokenizer: RowTokenizer) -> Example:
    tokenise = tokenizer.answer if form == "policy" else tokenizer.judged
    return of_row(shared([tokenise(row.prompt, one.content) for one in responses]), row, responses)


def _pair(row: Row, one: Preference, more: Sequence[Response], form: Form, tokenizer: RowTokenizer) -> Example:
    example = _example(row, [row.responses[one.a], row.responses[one.b], *more], form, tokenizer)
    return replace(example, preference=one.p, margin=one.margin)


def _ordered(row: Row) -> tuple[Preference, ...]:
    found = preferences_of(row)
    if not found:
        raise Unusable("does not say which of two responses is better")
    return found


def _with_score(response: Response) -> Response:
    """With its label for a score where it has none."""
    if response.score is not None or response.label is None:
        return response
    return replace(response, score=float(response.label))
