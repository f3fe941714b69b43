"""An OpenAI-compatible server for tests: answers `hello world`, or what a test puts on its list of next answers."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

Answer = Callable[[dict[str, Any]], Response]
WORDS = ("hello", " world")


@dataclass(frozen=True, slots=True)
class Seen:
    path: str
    headers: Mapping[str, str]
    body: dict[str, Any]


@dataclass
class FakeUpstream:
    model: str = "big-model"
    next_answers: deque[Answer] = field(default_factory=deque)
    refuse: Callable[[dict[str, Any]], Response | None] = lambda body: None
    vllm: bool = False
    completions: bool = True
    seen: list[Seen] = field(default_factory=list)
    streaming: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    def app(self) -> Starlette:
        routes = [
            Route("/v1/models", self.models),
            Route("/v1/chat/completions", self.generate, methods=["POST"]),
        ]
        if self.completions:
            routes.append(Route("/v1/completions", self.generate, methods=["POST"]))
        if self.vllm:
            routes += [
                Route("/version", lambda request: JSONResponse({"version": "0.32.0"})),
                Route("/tokenize", self.tokenize, methods=["POST"]),
                Route("/detokenize", self.detokenize, methods=["POST"]),
            ]
        return Starlette(routes=routes)

    def generations(self) -> list[dict[str, Any]]:
        return [seen.body for seen in self.seen if seen.body]

    async def models(self, request: Request) -> Response:
        self.seen.append(Seen(request.url.path, dict(request.headers), {}))
        card: dict[str, Any] = {"id": self.model, "object": "model", "owned_by": "vllm" if self.vllm else "acme"}
        return JSONResponse({"object": "list", "data": [card | ({"max_model_len": 2048} if self.vllm else {})]})

    async def generate(self, request: Request) -> Response:
        body = await request.json()
        self.seen.append(Seen(request.url.path, dict(request.headers), body))
        if refused := self.refuse(body):
            return refused
        if not body.get("messages") and body.get("prompt") is None:
            return JSONResponse({"error": {"message": "prompt is required"}}, 400)
        if self.next_answers:
            return self.next_answers.popleft()(body)
        if self.vllm and body.get("echo"):
            return self.echo_answer(body)
        if isinstance(body.get("prompt"), list) and body.get("return_token_ids"):
            return self.token_answer(body)
        return events(chat_chunks(body, self.model)) if body.get("stream") else JSONResponse(whole(body, self.model))

    def echo_answer(self, body: dict[str, Any]) -> Response:
        count = len(body["prompt"]) + 1
        logprobs = {"token_logprobs": [None] + [-1.0] * (count - 1)}
        return JSONResponse({"model": self.model, "choices": [{"index": 0, "text": "ab", "logprobs": logprobs}]})

    def token_answer(self, body: dict[str, Any]) -> Response:
        """Counts on from the last id of the prompt, two tokens at most; id 3 ends."""
        last, ids = body["prompt"][-1], body.get("logprob_token_ids") or []
        only = body.get("allowed_token_ids")
        new = only[:1] if only else [last + 1, 3][: body.get("max_tokens") or 2]
        tops = [{f"token_id:{token}": -token / 10 if only else -0.5 * place} for place, token in enumerate(new)]
        for top in tops:
            top.update({f"token_id:{token}": -token / 10 for token in ids})
        logprobs = {
            "tokens": [f"token_id:{token}" for token in new],
            "token_logprobs": [-0.5 * place for place in range(len(new))],
            "top_logprobs": tops,
        }
        choice = {"index": 0, "text": "".join(f"<{token}>" for token in new), "finish_reason": "stop", "token_ids": new}
        choice["logprobs"] = logprobs if body.get("logprobs") is not None else None
        usage = {"prompt_tokens": 1, "completion_tokens": 2, "prompt_tokens_details": {"cached_tokens": 1}}
        answer = {"model": self.model, "choices": [choice], "usage": usage}
        return events([answer]) if body.get("stream") else JSONResponse(answer)

    async def tokenize(self, request: Request) -> Response:
        """One id a character; a turn is 1, its text, 3 and 10."""
        body = await request.json()
        self.seen.append(Seen(request.url.path, dict(request.headers), {}))
        if "prompt" in body:
            ids = [1] * body.get("add_special_tokens", True) + [ord(c) for c in body["prompt"]]
            return JSONResponse({"tokens": ids, "count": len(ids), "max_model_len": 2048})
        ids = []
        for message in body["messages"]:
            ids += [1, *(ord(c) for c in message["content"]), 3, 10]
        ids = ids[:-2] if body.get("continue_final_message") else ids
        ids += [1] if body.get("add_generation_prompt") else []
        return JSONResponse({"tokens": ids, "count": len(ids), "max_model_len": 2048})

    async def detokenize(self, request: Request) -> Response:
        return JSONResponse({"prompt": "".join(chr(i) if i > 3 else f"<{i}>" for i in (await request.json())["tokens"])})

    def hanging(self, body: dict[str, Any]) -> Response:
        """One chunk, then nothing until the client leaves."""

        async def chunks() -> AsyncIterator[bytes]:
            try:
                yield data(chat_chunks(body, self.model)[0])
                self.streaming.set()
                await asyncio.Event().wait()
            finally:
                self.left.set()

        return StreamingResponse(chunks(), media_type="text/event-stream")


def chat_chunks(body: Mapping[str, Any], model: str, words: Iterable[str] = WORDS) -> list[dict[str, Any]]:
    head = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": model}
    chat, chunks = "messages" in body, []
    for index in range(body.get("n") or 1):
        pieces = [{"delta": {"role": "assistant", "content": ""}}] if chat else []
        pieces += [{"delta": {"content": word}} if chat else {"text": word} for word in words]
        pieces[-1]["finish_reason"] = "stop"
        chunks += [head | {"choices": [{"index": index, "finish_reason": None} | piece]} for piece in pieces]
    if (body.get("stream_options") or {}).get("include_usage"):
        chunks.append(head | {"choices": [], "usage": {"prompt_tokens": 5, "completion_tokens": 2 * (body.get("n") or 1)}})
    return chunks


def whole(body: Mapping[str, Any], model: str) -> dict[str, Any]:
    message = {"message": {"role": "assistant", "content": "hello world"}} if "messages" in body else {"text": "hello world"}
    choices = [message | {"index": index, "finish_reason": "stop"} for index in range(body.get("n") or 1)]
    return {"id": "x-1", "model": model, "choices": choices, "usage": {"prompt_tokens": 5, "completion_tokens": 2}, "extra": 7}


def data(chunk: Mapping[str, Any]) -> bytes:
    return f"data: {json.dumps(chunk)}\n\n".encode()


def events(chunks: Iterable[Mapping[str, Any]], *, done: bool = True) -> Response:
    return raw(b"".join(data(chunk) for chunk in chunks) + (b"data: [DONE]\n\n" if done else b""))


def raw(stream: bytes) -> Response:
    return Response(stream, media_type="text/event-stream")


def error(status: int, message: str = "no", headers: Mapping[str, str] | None = None, **fields: Any) -> Answer:
    return lambda body: JSONResponse({"error": {"message": message} | fields}, status, headers=dict(headers or {}))
