"""The wire face: OpenAI objects in and out through vLLM's own handlers.

Nothing of an answer is parsed on its way: stream chunks are cut out of their event lines, a finish reason or model name is
replaced as a substring (inside JSON strings quotes are escaped, so content cannot match).
"""

import json
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Protocol

from trimtab.server.engines.base import Wire
from trimtab.server.engines.vllm.calls import RunningCall, RunningCalls
from trimtab.server.engines.vllm.errors import aborted, from_exception, from_response
from trimtab.server.engines.vllm.runtime import Runtime
from trimtab.server.engines.vllm.supervisor import Supervisor
from trimtab.strategies.core.engine import Call
from trimtab.strategies.core.errors import RequestRefused

_DATA, _END = len("data: "), -len("\n\n")
_ERROR = 'data: {"error"'
_DONE = "data: [DONE]"
_FINISH = '"finish_reason":"'
_ABORTED = '"finish_reason":"abort"'
_REPETITION = '"finish_reason":"repetition"'


@contextmanager
def translated(supervisor: Supervisor[Runtime], runtime: Runtime, prompt: str) -> Iterator[None]:
    """Raises what vLLM raises inside the block as an error of ours; a dead engine is reported to its supervisor.

    prompt: what the request calls its prompt.
    """
    try:
        yield
    except Exception as error:  # the border to vLLM: whatever it raises becomes an error of our tree
        dead = runtime.dead
        if dead:
            supervisor.suspect(runtime, "an engine process ended")
        raise from_exception(error, dead=dead, prompt=prompt) from error


class _Start(Protocol):
    async def __call__(
        self, runtime: Runtime, body: Mapping[str, Any], running: RunningCall, call: Call, *, stream: bool
    ) -> Any: ...


class VllmWire:
    """`WireFace` over whichever engine runs now."""

    def __init__(
        self, supervisor: Supervisor[Runtime], calls: RunningCalls, check: Callable[[Mapping[str, Any]], None]
    ) -> None:
        """check: raises RequestRefused for a body this engine cannot honour."""
        self._supervisor = supervisor
        self._calls = calls
        self._check = check

    async def chat(self, body: Mapping[str, Any], call: Call) -> Wire:
        """A `chat.completion` object."""
        runtime = self._supervisor.live()
        with self._calls.enter(call, "chatcmpl-") as running, translated(self._supervisor, runtime, "messages"):
            self._check(body)
            return _finished(await self._start_chat(runtime, body, running, call, stream=False), body)

    async def completion(self, body: Mapping[str, Any], call: Call) -> Wire:
        """A `text_completion` object."""
        runtime = self._supervisor.live()
        parts = prompt_count(body)
        with self._calls.enter(call, "cmpl-", parts) as running, translated(self._supervisor, runtime, "prompt"):
            self._check(body)
            return _finished(await self._start_completion(runtime, body, running, call, stream=False), body)

    def chat_stream(self, body: Mapping[str, Any], call: Call) -> AsyncGenerator[str, None]:
        """`chat.completion.chunk` objects as JSON strings."""
        return self._stream(self._start_chat, body, call, prefix="chatcmpl-", parts=None, prompt="messages")

    def completion_stream(self, body: Mapping[str, Any], call: Call) -> AsyncGenerator[str, None]:
        """`text_completion` chunks as JSON strings."""
        parts = prompt_count(body)
        return self._stream(self._start_completion, body, call, prefix="cmpl-", parts=parts, prompt="prompt")

    async def _start_chat(
        self, runtime: Runtime, body: Mapping[str, Any], running: RunningCall, call: Call, *, stream: bool
    ) -> Any:
        return await runtime.serving.chat(runtime.body(body, running, call, stream=stream), safe=runtime.is_forged(body))

    async def _start_completion(
        self, runtime: Runtime, body: Mapping[str, Any], running: RunningCall, call: Call, *, stream: bool
    ) -> Any:
        return await runtime.serving.completion(runtime.body(body, running, call, stream=stream))

    async def _stream(
        self, start: _Start, body: Mapping[str, Any], call: Call, *, prefix: str, parts: int | None, prompt: str
    ) -> AsyncGenerator[str, None]:
        """The JSON of each event line of an answer."""
        runtime = self._supervisor.live()
        with self._calls.enter(call, prefix, parts) as running, translated(self._supervisor, runtime, prompt):
            self._check(body)
            rename = _renaming(runtime.serving.served_name(body.get("model")), body.get("model"))
            async with _lines(runtime, running, await start(runtime, body, running, call, stream=True)) as lines:
                async for line in lines:
                    if line.startswith(_DONE):
                        return
                    if line.startswith(_ERROR):
                        raise _stream_error(line, runtime, prompt)
                    chunk = line[_DATA:_END]
                    if _FINISH in chunk:
                        if _ABORTED in chunk:
                            raise aborted()
                        chunk = chunk.replace(_REPETITION, '"finish_reason":"length"', 1)
                    yield chunk.replace(*rename, 1) if rename else chunk


@asynccontextmanager
async def _lines(
    runtime: Runtime, running: RunningCall, lines: AsyncGenerator[str, None]
) -> AsyncIterator[AsyncGenerator[str, None]]:
    """Event lines; leaving the block before their end ends the work in the engine."""
    try:
        yield lines
    except BaseException:
        await runtime.abort(running.engine_ids)
        raise
    finally:
        await lines.aclose()


def _renaming(served: str, asked: Any) -> tuple[str, str] | None:
    """What to replace in a chunk so that it shows the caller's model name; None where it does."""
    if asked is None or asked == served:
        return None
    return f'"model":{json.dumps(served, ensure_ascii=False)}', f'"model":{json.dumps(asked, ensure_ascii=False)}'


def prompt_count(body: Mapping[str, Any]) -> int:
    """How many prompts a completion request holds."""
    prompt = body.get("prompt")
    if isinstance(prompt, list) and prompt and not isinstance(prompt[0], int):
        return len(prompt)
    return 1


def refuse_fetching(body: Mapping[str, Any], allowed_domains: bool) -> None:
    """Raises RequestRefused where content would make the server fetch something; `data:` URLs hold what they show.

    allowed_domains: the operator named domains, and vLLM keeps to them.
    """
    if allowed_domains:
        return
    for message in body.get("messages") or ():
        content = message.get("content")
        if not isinstance(content, list | tuple):
            continue
        for part in content:
            for value in part.values() if isinstance(part, Mapping) else ():
                url = value.get("url") if isinstance(value, Mapping) else value
                if isinstance(url, str) and part.get("type") not in {"text", "input_text"} and _fetched(url):
                    raise RequestRefused(
                        "this server fetches nothing for a request: send media as `data:` URLs", param="messages"
                    )


def _fetched(url: str) -> bool:
    scheme, colon, _ = url.partition(":")
    return bool(colon) and scheme.strip().lower() in {"http", "https", "file", "ftp", "s3"}


def _finished(answer: Wire, body: Mapping[str, Any]) -> Wire:
    """A whole answer under the caller's model name, with OpenAI's finish reasons."""
    for choice in answer["choices"]:
        if choice["finish_reason"] == "abort":
            raise aborted()
        if choice["finish_reason"] == "repetition":
            choice["finish_reason"] = "length"
    answer["model"] = body.get("model") or answer["model"]
    return answer


def _stream_error(line: str, runtime: Runtime, prompt: str) -> Exception:
    error = json.loads(line[_DATA:_END])["error"]
    return from_response(error["message"], int(error["code"] or 500), error.get("param"), dead=runtime.dead, prompt=prompt)
