"""Asking an upstream, at the start, what it is: its models, whether it tokenizes for others, what it does with token ids.

Only a server with a tokenizer of its own (vLLM's, this project's) is asked to generate, a token or two; of others nothing is
requested that they might charge for.
"""

import logging
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from trimtab.server.engines.upstream.link import Link
from trimtab.server.engines.upstream.profile import Profile
from trimtab.strategies.core.errors import ConfigError, EngineError, UpstreamError

logger = logging.getLogger(__name__)

MISSING = frozenset({404, 405, 501})
"""Statuses of an endpoint that is not there."""
_TURNS = ({"role": "user", "content": "a"}, {"role": "assistant", "content": "b"})
_CALL = "probe"


async def probed(link: Link) -> Profile:
    """The profile of an upstream. Raises EngineUnavailable where it cannot be reached, UpstreamError where it refuses the key.

    Without `config.probe` nothing is asked but, where `config.model` is unset, the list of models.
    """
    config = link.config
    if not config.probe and config.model is not None:
        return Profile(config.model, max_model_len=config.max_model_len)
    models = await _models(link)
    card = _card(models, config.model)
    model = config.model or str(card["id"])
    notes = () if card or not models else (f"the upstream does not list the model {model!r}",)
    length = card.get("max_model_len") or config.max_model_len
    if not config.probe:
        return Profile(model, max_model_len=length)
    profile = Profile(model, has_completions=await _has_completions(link), max_model_len=length, notes=notes)
    ids = await _ids(link, {"model": model, "prompt": "a b"})
    if not ids or not profile.has_completions:
        return profile
    return await _with_tokenizer(link, card, model, ids, profile)


async def _models(link: Link) -> list[Mapping[str, Any]]:
    """The upstream's list; empty where it has none and a model is configured."""
    try:
        answer = await link.get(f"{link.base}/models")
    except UpstreamError as error:
        if link.config.model is not None and error.status in MISSING:
            return []
        raise
    return [card for card in answer.get("data") or () if isinstance(card, dict) and card.get("id")]


def _card(models: Sequence[Mapping[str, Any]], name: str | None) -> Mapping[str, Any]:
    """The entry of the model: the named one, else the first. Raises ConfigError where none can be named."""
    if name is None and not models:
        raise ConfigError("the upstream lists no model; name one with `model`", param="engine.model")
    return next((card for card in models if name in {None, card["id"]}), {})


async def _has_completions(link: Link) -> bool:
    """Whether there is a `/v1/completions`: an empty request is refused there, for what it lacks."""
    try:
        await link.post(f"{link.base}/completions", {}, _CALL)
    except UpstreamError as error:
        return error.status in {400, 422}
    except EngineError:
        return False
    return True


async def _with_tokenizer(link: Link, card: Mapping[str, Any], model: str, ids: Sequence[int], profile: Profile) -> Profile:
    """The profile of a server that tokenizes for others: what it does with token ids is tried, on one token each."""
    is_vllm = card.get("owned_by") == "vllm"
    has_tokens = await _returns_ids(link, model, ids)
    notes = profile.notes
    if is_vllm:
        version = await _optional(link.get(f"{link.root}/version", retries=0))
        notes += (f"a vLLM server, version {version.get('version', 'unknown')}",)
    if not has_tokens:
        notes += ("no token level: the server does not return the log-probabilities of chosen token ids",)
    return replace(
        profile,
        is_vllm=is_vllm,
        has_tokenizer=True,
        has_tokens=has_tokens,
        has_prompt_logprobs=await _scores_prompts(link, model, ids),
        eos_token_ids=await _ends(link, model),
        tokenizer_info=await _optional(link.get(f"{link.root}/tokenizer_info", retries=0)),
        notes=notes,
    )


async def _optional(answer: Awaitable[Any]) -> dict[str, Any]:
    """What an endpoint says that need not be there."""
    try:
        return dict(await answer)
    except UpstreamError as error:
        logger.debug("the upstream does not answer a question of the probe: %s", error)
        return {}


async def _ids(link: Link, body: Mapping[str, Any]) -> list[int]:
    return list((await _optional(link.post(f"{link.root}/tokenize", body, _CALL))).get("tokens") or ())


async def _returns_ids(link: Link, model: str, ids: Sequence[int]) -> bool:
    """Whether one generated token comes back with its id and with the log-probability of a chosen id."""
    chosen = {"logprob_token_ids": [ids[-1]], "return_token_ids": True, "return_tokens_as_token_ids": True}
    choice = await _token(link, model, ids, chosen)
    tops = (choice.get("logprobs") or {}).get("top_logprobs") or [{}]
    return bool(choice.get("token_ids")) and f"token_id:{ids[-1]}" in (tops[0] or {})


async def _scores_prompts(link: Link, model: str, ids: Sequence[int]) -> bool:
    """Whether a prompt of ids comes back with the log-probabilities of its own tokens."""
    choice = await _token(link, model, ids, {"echo": True})
    return len((choice.get("logprobs") or {}).get("token_logprobs") or ()) >= len(ids)


async def _token(link: Link, model: str, ids: Sequence[int], options: Mapping[str, Any]) -> Mapping[str, Any]:
    """The one choice of one token behind a prompt of ids; empty where the server refuses."""
    body = {"model": model, "prompt": list(ids), "max_tokens": 1, "temperature": 0, "logprobs": 1, **options}
    answer = await _optional(link.post(f"{link.base}/completions", body, _CALL))
    choice: Mapping[str, Any] = (answer.get("choices") or [{}])[0]
    return choice


async def _ends(link: Link, model: str) -> frozenset[int]:
    """The id that closes an answer in the chat template: the first of what a closed turn has beyond an open one."""
    turns = {"model": model, "messages": list(_TURNS), "add_generation_prompt": False}
    closed = await _ids(link, turns)
    opened = await _ids(link, {**turns, "continue_final_message": True})
    if opened and closed[: len(opened)] == opened and len(closed) > len(opened):
        return frozenset({closed[len(opened)]})
    return frozenset()
