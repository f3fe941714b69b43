"""Fields by what happens to them: refused because they would change the answer and nobody honours them, or the server's own."""

from collections.abc import Mapping
from typing import Any

from trimtab.strategies.core.errors import RequestRefused

UNSUPPORTED: Mapping[str, str] = {
    "audio": "audio output is not supported",
    "web_search_options": "web search is not supported",
    "moderation": "moderation models are not supported; choose a strategy with `alignment`",
    "functions": "it is deprecated; use `tools`",
    "function_call": "it is deprecated; use `tool_choice`",
    "chat_template": "templates come from the server's configuration (models.NAME.chat_template), never from a request",
    "documents": "documents are not rendered; put their text into a message",
    "use_beam_search": "beam search is not supported",
    "best_of": "use `n`, or the strategy best_of_n",
    "suffix": "insertion is not supported",
    "guided_json": "use `response_format` or `structured_outputs`",
    "guided_regex": "use `structured_outputs`",
    "guided_choice": "use `structured_outputs`",
    "guided_grammar": "use `structured_outputs`",
    "guided_whitespace_pattern": "use `structured_outputs`",
    "guided_decoding_backend": "the server's configuration decides it",
    "prompt_embeds": "embeddings as prompts are not supported",
}
"""Would change the answer and are not honoured -> what to do instead."""

SERVERS_OWN: Mapping[str, str] = dict.fromkeys(
    (
        "priority",
        "request_id",
        "cache_salt",
        "session_id",
        "mm_processor_kwargs",
        "media_io_kwargs",
        "vllm_xargs",
        "kv_transfer_params",
        "data_parallel_rank",
    ),
    "it is the server's to decide and never a client's",
)
"""Reach into the engine."""

HINTS = frozenset(
    {
        "metadata",
        "prediction",
        "prompt_cache_key",
        "prompt_cache_options",
        "prompt_cache_retention",
        "reasoning_effort",
        "safety_identifier",
        "service_tier",
        "store",
        "user",
        "verbosity",
    }
)
"""Accepted; an engine that knows them may use them, the answer does not depend on it."""

NATIVE_ONLY: Mapping[str, Any] = {
    "include_stop_str_in_output": False,
    "skip_special_tokens": True,
    "spaces_between_special_tokens": True,
    "truncate_prompt_tokens": None,
    "prompt_logprobs": None,
    "bad_words": [],
    "echo": False,
    "return_token_ids": False,
    "return_tokens_as_token_ids": False,
    "return_prompt_text": False,
    "repetition_detection": None,
    "length_penalty": 1.0,
    "thinking_token_budget": None,
}
"""Fields only an engine with an OpenAI layer of its own can honour -> the value that asks for nothing."""


def refuse_unsupported(body: Mapping[str, Any]) -> None:
    """Raise RequestRefused (`unsupported_parameter`) for a field that is set and cannot be honoured."""
    for name in body.keys() & _REFUSED.keys():
        if body[name] is not None and body[name] is not False and not _harmless(name, body):
            raise RequestRefused(f"{name}: {_REFUSED[name]}", param=name, code="unsupported_parameter")


def refuse_native(body: Mapping[str, Any], *, by: str, ignoring: frozenset[str] = frozenset()) -> None:
    """Raise RequestRefused for a field that only the engine's own OpenAI layer honours, where that layer is not used.

    by: who cannot honour it, for the message ("the transformers engine", "the strategy urial").
    """
    for name in body.keys() & NATIVE_ONLY.keys() - ignoring:
        if body[name] is not None and body[name] != NATIVE_ONLY[name]:
            raise RequestRefused(f"{name}: {by} cannot honour it", param=name, code="unsupported_parameter")


def _harmless(name: str, body: Mapping[str, Any]) -> bool:
    """Values that ask for nothing beyond what happens anyway."""
    return (
        (name == "best_of" and body[name] == (body.get("n") or 1))
        or (name in {"suffix"} and body[name] == "")
        or (name in {"documents", "functions"} and body[name] == [])
        or (name == "function_call" and body[name] in ("none", "auto"))
    )


_REFUSED = {**UNSUPPORTED, **SERVERS_OWN}

OTHER_KNOWN = frozenset({*_REFUSED, *HINTS, *NATIVE_ONLY})
"""Fields that are known without being checked by a model."""
