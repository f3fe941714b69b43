"""What an evaluation writes down: the schema of its log. A header, one generation a sample and alignment, scores beside them.

The log is a folder: `header.json`, `samples.jsonl` (what was asked), `generations.jsonl`, `scores.jsonl`, `scorers.jsonl`.
Lines are only added; where a key is written twice, the later line counts. A reader refuses a `version` it does not know.
"""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Alignment(_Record):
    """One of the alignments that are compared."""

    name: str
    """Short and unique in the log, e.g. `plain`, `norms+critique_refine`."""
    spec: Any
    """The strategy as a request says it."""
    sha256: str = ""
    """Of the resolved steps: kinds, every parameter, prompts by their hashes."""


class Header(_Record):
    """What was compared with what, on what."""

    version: Literal[1] = 1
    created: float
    """Unix time."""
    model: str
    model_sha256: str = ""
    """Of names, sizes and samples of the files of the weights; empty for a remote model, and where there are several."""
    engine: str = ""
    dataset: str
    """Its name, without folders."""
    dataset_sha256: str
    samples: int
    seed: int
    sampling: dict[str, Any] = Field(default_factory=dict)
    """Of every request: temperature, top_p, max_tokens."""
    alignments: tuple[Alignment, ...]
    """The first is what the others are compared with."""
    packages: dict[str, str] = Field(default_factory=dict)
    """Versions of what computed it."""
    merged_from: tuple[str, ...] = ()
    """Of a log that is several in one: each one's name, model and beginning, in words."""


class Cost(_Record):
    """What an answer took."""

    calls: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    by_role: dict[str, dict[str, int]] = Field(default_factory=dict)
    """Role (policy, judge, reward, ...) -> calls, prompt_tokens, completion_tokens."""
    ms: float = 0.0
    """From request to answer, beside the other requests that ran."""


class Generation(_Record):
    """An answer."""

    alignment: str
    """Name of the alignment."""
    sample: str
    """Id of the sample."""
    answer: str | None
    """None where there is an error."""
    finish_reason: str | None = None
    """`length` = it was cut."""
    error: str | None = None
    status: str | None = None
    """Of the alignment: applied, skipped, degraded, failed; None = passed through."""
    cost: Cost = Field(default_factory=Cost)
    trace: dict[str, Any] | None = None
    """The `alignment` object of the answer."""
    seed: int | None = None


class Score(_Record):
    """What a scorer says of one answer."""

    scorer: str
    alignment: str
    sample: str
    value: float | None
    """None = unscored, never a zero in its place."""
    unscored: str | None = None
    """Why there is no value."""
    details: dict[str, Any] = Field(default_factory=dict)


class ScorerRecord(_Record):
    """A scorer that was used, and what it says of all its verdicts together."""

    name: str
    title: str
    better: Literal["higher", "lower", "neither"]
    says: str
    source: str = ""
    compares: bool = False
    of_preference: bool = False
    of_policy: bool = False
    sha256: str = ""
    """Of its configuration: model, prompt, weights."""
    summary: dict[str, dict[str, float]] = Field(default_factory=dict)
    """Alignment -> name -> number."""
