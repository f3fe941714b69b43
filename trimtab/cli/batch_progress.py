"""The progress of a batch in the terminal, and what is said of it at its end."""

import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Self

from tqdm import tqdm

from trimtab.server.lines.rows import MOST_SHOWN, Rows, fault


@dataclass(slots=True)
class Tally:
    """What became of the lines so far, those of earlier runs included."""

    lines: int
    """All of them."""
    answered: int = 0
    """Rows that stand."""
    errors: int = 0
    """Rows among them that are errors."""
    faults: list[str] = field(default_factory=list)
    """The first errors in words."""
    tokens: int = 0
    """Output tokens of this run."""
    began: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, lines: int, missing: int, rows: Rows) -> "Tally":
        """The tally before anything is answered."""
        return cls(lines, lines - missing, rows.errors, list(rows.faults))

    def add(self, row: dict[str, Any]) -> None:
        """Count a new row."""
        response = row["response"]
        self.answered += 1
        if response is not None and response["status_code"] == 200:
            usage = response["body"].get("usage") or {}
            self.tokens += int(usage.get("completion_tokens") or 0)
            return
        self.errors += 1
        if len(self.faults) < MOST_SHOWN:
            self.faults.append(fault(row))

    @property
    def tokens_per_s(self) -> float:
        """Output tokens a second of this run."""
        return self.tokens / max(time.monotonic() - self.began, 1e-9)

    def told(self) -> str:
        """One line."""
        errors = f", {self.errors} of them errors" if self.errors else ""
        speed = f"; {self.tokens} output tokens, {self.tokens_per_s:.1f}/s" if self.tokens else ""
        return f"{self.answered} of {self.lines} lines answered{errors}{speed}"


class BatchBar:
    """A bar with rate, output tokens/s and ETA; a context that ends with it."""

    def __init__(self, tally: Tally, shown: bool | None) -> None:
        """shown: None = where standard error is a terminal."""
        self._tally = tally
        self._hidden = None if shown is None else not shown
        self._bar: tqdm[Any] | None = None

    def begin(self) -> None:
        """The first line goes; what came before, such as the start of an engine, counts for no rate."""
        tally = self._tally
        tally.began = time.monotonic()
        self._bar = tqdm(
            total=tally.lines, initial=tally.answered, unit="line", smoothing=0.1, dynamic_ncols=True, disable=self._hidden
        )

    def step(self) -> None:
        """One line more."""
        if self._bar is not None and not self._bar.disable:
            self._bar.set_postfix_str(f"{self._tally.tokens_per_s:.0f} tokens/s, {self._tally.errors} errors", refresh=False)
            self._bar.update()

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Leave the bar's last state on the screen."""
        if self._bar is not None:
            self._bar.close()
