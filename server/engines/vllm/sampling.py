"""`Params` as vLLM's SamplingParams, with the model's own defaults where a parameter is left open, as its server does."""

from collections.abc import Mapping, Sequence
from typing import Any

from vllm.exceptions import VLLMValidationError
from vllm.sampling_params import RequestOutputKind, SamplingParams, StructuredOutputsParams

from trimtab.strategies.core.engine import Params
from trimtab.strategies.core.errors import RequestRefused

_OPEN = ("temperature", "top_p", "top_k", "min_p", "repetition_penalty", "presence_penalty", "frequency_penalty")
_NEUTRAL: Mapping[str, float] = {
    "temperature": 1.0,
    "top_p": 1.0,
    "top_k": 0,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}
_CHAT_ONLY = ("tools", "tool_choice", "functions", "function_call", "modalities", "audio")


def sampling(
    params: Params, defaults: Mapping[str, Any], room: int, stops: Sequence[str] = (), *, shows_stops: bool = False
) -> SamplingParams:
    """How to sample a raw prompt.

    defaults: the model's generation config as vLLM reads it. room: tokens left in the context window. stops: strings that end
    the answer beside the request's own. shows_stops: leave them in the text for the caller to cut, where nothing speaks against
    it: vLLM holds back as many characters as the longest has, whatever they are. Raises RequestRefused for what only the chat
    layer can honour and for what vLLM refuses, such as several greedy answers.
    """
    for field in _CHAT_ONLY:
        if params.native.get(field) not in (None, "none", []):
            raise RequestRefused(f"`{field}` needs a chat prompt; this prompt is raw text", param=field)
    if params.logprobs and params.logprob_token_ids:
        raise RequestRefused("the most likely ids and chosen ids cannot be asked for at once", param="logprobs")
    chosen = {name: _first(getattr(params, name), defaults.get(name), _NEUTRAL[name]) for name in _OPEN}
    longest = min(n for n in (room, params.max_tokens, defaults.get("max_tokens")) if n is not None)
    strings = [*params.stop, *(s for s in stops if s not in params.stop)]
    ids = [*params.stop_token_ids, *(defaults.get("stop_token_ids") or ())]
    structure = _structure(params.native)
    try:
        return SamplingParams(
            n=params.n,
            **chosen,
            seed=params.seed,
            stop=strings or None,
            stop_token_ids=ids or None,
            include_stop_str_in_output=shows_stops and bool(strings) and not ids and not params.min_tokens,
            ignore_eos=params.ignore_eos,
            max_tokens=longest,
            min_tokens=params.min_tokens,
            logprobs=len(params.logprob_token_ids) if params.logprob_token_ids else params.logprobs,
            logprob_token_ids=list(params.logprob_token_ids) or None,
            allowed_token_ids=list(params.allowed_token_ids) or None,
            logit_bias=dict(params.logit_bias) or None,
            structured_outputs=structure,
            detokenize=not params.in_one or bool(params.stop or stops),
            output_kind=RequestOutputKind.FINAL_ONLY if params.in_one else RequestOutputKind.DELTA,
            skip_clone=True,
        )
    except (ValueError, VLLMValidationError) as error:
        raise RequestRefused(f"vLLM does not take these sampling parameters: {error}") from error


def next_sampling(top: int = 0, only: int | None = None) -> SamplingParams:
    """One greedy token whose position shows the log-probabilities of the `top` most likely ids, and its own.

    only: the one id that may come. vLLM's `logprob_token_ids` would show any ids at once, but as of 0.32 it takes the most
    likely ids away from every other request of the same step.
    """
    return SamplingParams(
        max_tokens=1,
        temperature=0.0,
        logprobs=top,
        allowed_token_ids=None if only is None else [only],
        detokenize=False,
        ignore_eos=True,
        output_kind=RequestOutputKind.FINAL_ONLY,
        skip_clone=True,
    )


def prompt_sampling(top: int) -> SamplingParams:
    """One token after a prompt whose own log-probabilities are shown, with the `top` most likely ids beside each."""
    return SamplingParams(
        max_tokens=1,
        temperature=0.0,
        prompt_logprobs=top,
        detokenize=False,
        output_kind=RequestOutputKind.FINAL_ONLY,
        skip_clone=True,
    )


def _first(*values: Any) -> Any:
    return next(value for value in values if value is not None)


def _structure(native: Mapping[str, Any]) -> StructuredOutputsParams | None:
    """vLLM's form of `structured_outputs`, else of OpenAI's `response_format`. Raises RequestRefused."""
    given = native.get("structured_outputs")
    if given:
        try:
            return StructuredOutputsParams(**given)
        except (TypeError, ValueError, VLLMValidationError) as error:
            raise RequestRefused(f"`structured_outputs` is not taken: {error}", param="structured_outputs") from error
    response_format = native.get("response_format") or {}
    kind = response_format.get("type", "text")
    if kind == "text":
        return None
    if kind == "json_object":
        return StructuredOutputsParams(json_object=True)
    if kind == "json_schema":
        return StructuredOutputsParams(json=response_format["json_schema"]["schema"])
    raise RequestRefused(
        f"`response_format.type` is {kind!r}; allowed: text, json_object, json_schema", param="response_format"
    )
