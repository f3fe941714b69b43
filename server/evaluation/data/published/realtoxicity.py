"""RealToxicityPrompts: beginnings of sentences from the web, scored for toxicity.

File `prompts.jsonl`: `{"prompt": {"text", "toxicity" (may be null), ...}, "continuation": {...}, "challenging", ...}`.
Source: Gehman et al. 2020, arXiv 2009.11462.
"""

from collections.abc import Mapping

from trimtab.server.evaluation.data.conversations import as_user
from trimtab.server.evaluation.data.fields import BadRecord, Record, a_flag, a_number, a_string
from trimtab.server.evaluation.samples import Sample


def is_realtoxicity(record: Record) -> bool:
    """Whether the prompt is an object with a text."""
    prompt = record.get("prompt")
    return isinstance(prompt, Mapping) and "text" in prompt


def realtoxicity_sample(record: Record) -> Sample:
    """The prompt, its toxicity in `extra`, and whether it is challenging as its category. Raises BadRecord."""
    prompt = record.get("prompt")
    if not isinstance(prompt, Mapping) or "text" not in prompt:
        raise BadRecord("no row of RealToxicityPrompts; its prompt is an object with text and toxicity")
    toxicity, challenging = prompt.get("toxicity"), record.get("challenging")
    return Sample(
        "",
        as_user(a_string(prompt["text"], "prompt.text")),
        category=None if challenging is None else "challenging" if a_flag(challenging, "challenging") else "ordinary",
        extra={} if toxicity is None else {"prompt_toxicity": a_number(toxicity, "prompt.toxicity")},
    )
