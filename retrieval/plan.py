"""When an index is searched exactly, when by lists, and how those are made."""

import math

from pydantic import BaseModel, ConfigDict, Field


class IndexPlan(BaseModel):
    """Sizes and aims of the index of a corpus; the defaults suit vectors of some hundred numbers on a few cores."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    exact_up_to: int = Field(default=32_768, ge=1)
    """Passages that are compared one by one, exactly: below 2 ms a search at the default."""
    growth: float = Field(default=1.5, gt=1)
    """An inverted file is made anew when it has come to hold so many times more passages, or so many times fewer."""
    recall: float = Field(default=0.965, gt=0, le=1)
    """Share of the 10 nearest passages that a search must find, measured on stored ones when an inverted file is made."""
    sample: int = Field(default=64, ge=8)
    """Passages a list is trained on."""
    search_threads: int = Field(default=1, ge=1)
    """Processor cores that one search may use, where it reads much and no other runs. On cores that an engine keeps busy,
    several threads wait for each other longer than one needs."""
    making_threads: int = Field(default=1, ge=1)
    """Processor cores that the making of an inverted file may use beside the searches."""
    seed: int = 0

    def lists(self, size: int) -> int:
        """Lists of an inverted file of so many passages, 4 sqrt(size): reading centroids and reading lists then cost alike."""
        return max(1, min(round(4 * math.sqrt(size)), size // 8))
