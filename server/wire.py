"""Between OpenAI's JSON objects and the nouns of strategies: sampling parameters in, answers and chunks out."""

import json
import time
import uuid
from collections.abc import Iterable, Mapping
from typing import Any, Literal

from trimtab.server.engines.base import Wire
from trimtab.strategies.core.engine import Params
from trimtab.strategies.core.messages import Delta, Usage

Endpoint = Literal["/v1/chat/completions", "/v1/completions", "/v1/embeddings"]
"""The routes whose requests may also come as lines of a file."""

NATIVE_FIELDS = (
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "functions",
    "function_call",
    "response_format",
    "structured_outputs",
    "reasoning_effort",
    "chat_template_kwargs",
    "documents",
)
"""Chat-only fields that go to the engine's chat layer as they are."""


def params_of(body: Mapping[str, Any]) -> Params:
    """The sampling parameters of a chat or completion body."""
    limit = body.get("max_completion_tokens")
    stop = body.get("stop") or ()
    return Params(
        max_tokens=limit if limit is not None else body.get("max_tokens"),
        n=body.get("n") or 1,
        temperature=body.get("temperature"),
        top_p=body.get("top_p"),
        top_k=body.get("top_k"),
        min_p=body.get("min_p"),
        repetition_penalty=body.get("repetition_penalty"),
        presence_penalty=body.get("presence_penalty"),
        frequency_penalty=body.get("frequency_penalty"),
        seed=body.get("seed"),
        stop=(stop,) if isinstance(stop, str) else tuple(stop),
        stop_token_ids=tuple(body.get("stop_token_ids") or ()),
        logprobs=_logprobs_of(body),
        logprob_token_ids=tuple(body.get("logprob_token_ids") or ()),
        allowed_token_ids=tuple(body.get("allowed_token_ids") or ()),
        logit_bias={int(token): float(bias) for token, bias in (body.get("logit_bias") or {}).items()},
        ignore_eos=bool(body.get("ignore_eos")),
        min_tokens=body.get("min_tokens") or 0,
        native={name: body[name] for name in NATIVE_FIELDS if body.get(name) is not None},
    )


def _logprobs_of(body: Mapping[str, Any]) -> int | None:
    wanted = body.get("logprobs")
    if wanted is None or wanted is False:
        return None
    if wanted is True:
        return int(body.get("top_logprobs") or 0)
    return int(wanted)


def body_of(params: Params) -> Wire:
    """The chat body fields that say the same as `params`; what is not set is left out."""
    body: Wire = dict(params.native)
    plain = {
        "max_completion_tokens": params.max_tokens,
        "temperature": params.temperature,
        "top_p": params.top_p,
        "top_k": params.top_k,
        "min_p": params.min_p,
        "repetition_penalty": params.repetition_penalty,
        "presence_penalty": params.presence_penalty,
        "frequency_penalty": params.frequency_penalty,
        "seed": params.seed,
        "stop": list(params.stop) or None,
        "stop_token_ids": list(params.stop_token_ids) or None,
        "logprob_token_ids": list(params.logprob_token_ids) or None,
        "allowed_token_ids": list(params.allowed_token_ids) or None,
        "logit_bias": {str(token): bias for token, bias in params.logit_bias.items()} or None,
        "ignore_eos": params.ignore_eos or None,
        "min_tokens": params.min_tokens or None,
        "n": params.n if params.n > 1 else None,
    }
    body.update({name: value for name, value in plain.items() if value is not None})
    if params.logprobs is not None:
        body.update(logprobs=True, top_logprobs=params.logprobs)
    return body


def new_id(prefix: str) -> str:
    """A fresh object id, e.g. `chatcmpl-...`."""
    return f"{prefix}-{uuid.uuid4().hex}"


def usage_object(usage: Usage) -> Wire:
    """OpenAI's usage object."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.total_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


def usage_of(wire: Mapping[str, Any] | None) -> Usage:
    """The counts of an OpenAI usage object; missing ones are 0."""
    given = wire or {}
    details = given.get("prompt_tokens_details") or {}
    return Usage(
        int(given.get("prompt_tokens") or 0),
        int(given.get("completion_tokens") or 0),
        int(details.get("cached_tokens") or 0),
    )


class ChatAnswerBuilder:
    """Gathers deltas into one `chat.completion` object."""

    def __init__(self, model: str, *, logprobs: bool = False) -> None:
        self._model = model
        self._logprobs = logprobs
        self._choices: dict[int, _Choice] = {}
        self.usage = Usage()

    def add(self, delta: Delta) -> None:
        """Take in one delta."""
        if delta.usage is not None:
            self.usage += delta.usage
        if delta.text or delta.finish_reason or delta.fields or delta.logprobs:
            self._choices.setdefault(delta.index, _Choice()).add(delta)

    def build(self) -> Wire:
        """The object."""
        return {
            "id": new_id("chatcmpl"),
            "object": "chat.completion",
            "created": int(time.time()),
            "model": self._model,
            "choices": [self._choices[index].wire(index, self._logprobs) for index in sorted(self._choices)],
            "usage": usage_object(self.usage),
        }


class _Choice:
    """One choice being gathered."""

    def __init__(self) -> None:
        self.text: list[str] = []
        self.logprobs: list[Mapping[str, Any]] = []
        self.finish_reason = "stop"
        self.fields: Wire = {}

    def add(self, delta: Delta) -> None:
        self.text.append(delta.text)
        self.logprobs.extend(delta.logprobs)
        self.finish_reason = delta.finish_reason or self.finish_reason
        for name, value in delta.fields.items():
            self.fields[name] = (
                _merged_tool_calls(self.fields.get(name), value)
                if name == "tool_calls"
                else ((self.fields.get(name) or "") + value if isinstance(value, str) else value)
            )

    def wire(self, index: int, with_logprobs: bool) -> Wire:
        text = "".join(self.text)
        message: Wire = {"role": "assistant", "content": text or (None if "tool_calls" in self.fields else ""), "refusal": None}
        message.update(self.fields)
        return {
            "index": index,
            "message": message,
            "logprobs": {"content": list(self.logprobs), "refusal": None} if with_logprobs and self.logprobs else None,
            "finish_reason": self.finish_reason,
        }


def _merged_tool_calls(known: list[Wire] | None, pieces: Iterable[Mapping[str, Any]]) -> list[Wire]:
    """Tool calls with the fragments of a stream put together by their index."""
    calls = known or []
    for piece in pieces:
        place = piece.get("index", len(calls))
        while len(calls) <= place:
            calls.append({"id": "", "type": "function", "function": {"name": "", "arguments": ""}})
        call, function = calls[place], piece.get("function") or {}
        call["id"] = piece.get("id") or call["id"]
        call["type"] = piece.get("type") or call["type"]
        call["function"]["name"] += function.get("name") or ""
        call["function"]["arguments"] += function.get("arguments") or ""
    return calls


class ChatChunks:
    """Renders deltas as `chat.completion.chunk` objects that share one id."""

    def __init__(self, model: str, *, include_usage: bool = False, logprobs: bool = False) -> None:
        self._head = {
            "id": new_id("chatcmpl"),
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": model,
        }
        self._include_usage = include_usage
        self._logprobs = logprobs
        self._opened: set[int] = set()
        self.usage = Usage()

    def chunks(self, delta: Delta) -> list[Wire]:
        """The chunks of one delta, a role chunk before a choice's first."""
        if delta.usage is not None:
            self.usage += delta.usage
        entries = delta.logprobs if self._logprobs else ()
        if not (delta.text or delta.finish_reason or delta.fields or entries):
            return []
        out = self.open(delta.index)
        if delta.text or delta.fields or entries:
            piece = {**({"content": delta.text} if delta.text or not delta.fields else {}), **delta.fields}
            out.append(self._chunk(delta.index, piece, None, delta))
        if delta.finish_reason:
            out.append(self._chunk(delta.index, {}, delta.finish_reason))
        return out

    def open(self, index: int) -> list[Wire]:
        """The role chunk of a choice, once."""
        if index in self._opened:
            return []
        self._opened.add(index)
        return [self._chunk(index, {"role": "assistant", "content": ""}, None)]

    def last(self, usage: Usage | None = None) -> list[Wire]:
        """The usage chunk, where it was asked for."""
        if not self._include_usage:
            return []
        return [{**self._head, "choices": [], "usage": usage_object(usage or self.usage)}]

    def _chunk(self, index: int, piece: Mapping[str, Any], finish: str | None, delta: Delta | None = None) -> Wire:
        entries = list(delta.logprobs) if delta is not None and self._logprobs and delta.logprobs else None
        choice = {
            "index": index,
            "delta": piece,
            "logprobs": {"content": entries, "refusal": None} if entries else None,
            "finish_reason": finish,
        }
        return {**self._head, "choices": [choice], **({"usage": None} if self._include_usage else {})}


def dumps(wire: Mapping[str, Any]) -> str:
    """Compact JSON."""
    return json.dumps(wire, ensure_ascii=False, separators=(",", ":"))


def loads(text: str) -> Wire:
    """The object of a JSON string."""
    wire: Wire = json.loads(text)
    return wire


def wants_usage(body: Mapping[str, Any]) -> bool:
    """Whether a stream ends with a usage chunk."""
    return bool((body.get("stream_options") or {}).get("include_usage"))
