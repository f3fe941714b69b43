"""Which waiting rows are computed together next."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from trimtab.server.engines.transformers.prefill import Prompt
from trimtab.server.engines.transformers.prefixes import PrefixStore, shared_length
from trimtab.server.engines.transformers.row import Row

WORTH_WAITING = 64
"""Tokens that two prompts must share before the second waits for the first one's keys and values."""
PADDING = 1.3
"""Computed columns, padding included, may be this many times the columns that are needed."""


@dataclass(slots=True)
class Group:
    """Distinct prompts, and the rows that start from each."""

    prompts: list[Prompt] = field(default_factory=list)
    rows: list[list[Row]] = field(default_factory=list)

    @property
    def all_rows(self) -> list[Row]:
        """The rows of all prompts."""
        return [row for rows in self.rows for row in rows]

    def add(self, prompt: Prompt, row: Row) -> None:
        """One more prompt with its first row."""
        self.prompts.append(prompt)
        self.rows.append([row])

    def fits(self, prompt: Prompt) -> bool:
        """Whether the prompt's length is near enough to the others' to share a batch with them."""
        remainders = [one.remainder for one in (*self.prompts, prompt)]
        return max(remainders) * len(remainders) <= PADDING * sum(remainders)

    def shares_start(self, prompt: Prompt) -> bool:
        """Whether the prompt will find most of itself in the store once the group is computed."""
        known = prompt.found.length if prompt.found else 0
        least = max(WORTH_WAITING, len(prompt.ids) // 2)
        return any(shared_length(one.ids, prompt.ids) - known >= least for one in self.prompts)


def next_group(candidates: Sequence[Row], store: PrefixStore) -> tuple[Group, Group, list[Row]]:
    """(rows whose prompt is stored whole, rows to compute together, rows that wait for the next turn)."""
    known, group, later = Group(), Group(), list[Row]()
    places: dict[tuple[tuple[int, ...], str | None], list[Row]] = {}
    for row in candidates:
        key = (row.job.prompt, row.job.salt)
        if key in places:
            places[key].append(row)
            continue
        prompt = Prompt(row.job.prompt, store.find(*key))
        if prompt.found and prompt.found.logits is not None:
            target = known
        elif not group.prompts or (group.fits(prompt) and not group.shares_start(prompt)):
            target = group
        else:
            later.append(row)
            continue
        target.add(prompt, row)
        places[key] = target.rows[-1]
    return known, group, later
