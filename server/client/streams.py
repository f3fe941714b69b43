"""The `.stream()` helpers with `alignment`: openai-python's accumulate an answer but leave out what rides on its last chunk.

The event type is a union that only type checkers may subscript, hence the quoted annotations.
"""

from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Generic

from openai.lib._parsing import ResponseFormatT
from openai.lib.streaming.chat import (
    AsyncChatCompletionStream,
    AsyncChatCompletionStreamManager,
    ChatCompletionStream,
    ChatCompletionStreamEvent,
    ChatCompletionStreamManager,
)

from trimtab.server.client.alignment import AlignmentResult, ParsedChatCompletion, aligned_parse


def _alignment_in(event: "ChatCompletionStreamEvent[ResponseFormatT]") -> AlignmentResult | None:
    return getattr(event.chunk, "alignment", None) if event.type == "chunk" else None


class Stream(ChatCompletionStream[ResponseFormatT]):
    """The events of a streamed answer; `alignment` is known once it has ended."""

    alignment: AlignmentResult | None = None

    def __init__(self, inner: ChatCompletionStream[ResponseFormatT]) -> None:
        self.__dict__.update(inner.__dict__)
        self._iterator = self.__stream__()

    def __stream__(self) -> "Iterator[ChatCompletionStreamEvent[ResponseFormatT]]":
        for event in super().__stream__():
            self.alignment = _alignment_in(event) or self.alignment
            yield event

    def get_final_completion(self) -> ParsedChatCompletion[ResponseFormatT]:
        """The whole answer, with its alignment; reads the stream to its end."""
        return aligned_parse(super().get_final_completion(), self.alignment)


class StreamManager(Generic[ResponseFormatT]):
    """Context manager over a `Stream`, returned by `.stream()`."""

    def __init__(self, inner: ChatCompletionStreamManager[ResponseFormatT]) -> None:
        self._inner = inner

    def __enter__(self) -> Stream[ResponseFormatT]:
        """Send the request."""
        return Stream(self._inner.__enter__())

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        """Close the connection."""
        self._inner.__exit__(kind, error, traceback)


class AsyncStream(AsyncChatCompletionStream[ResponseFormatT]):
    """The events of a streamed answer; `alignment` is known once it has ended."""

    alignment: AlignmentResult | None = None

    def __init__(self, inner: AsyncChatCompletionStream[ResponseFormatT]) -> None:
        self.__dict__.update(inner.__dict__)
        self._iterator = self.__stream__()

    async def __stream__(self) -> "AsyncIterator[ChatCompletionStreamEvent[ResponseFormatT]]":
        async for event in super().__stream__():
            self.alignment = _alignment_in(event) or self.alignment
            yield event

    async def get_final_completion(self) -> ParsedChatCompletion[ResponseFormatT]:
        """The whole answer, with its alignment; reads the stream to its end."""
        return aligned_parse(await super().get_final_completion(), self.alignment)


class AsyncStreamManager(Generic[ResponseFormatT]):
    """Context manager over an `AsyncStream`, returned by `.stream()`."""

    def __init__(self, inner: AsyncChatCompletionStreamManager[ResponseFormatT]) -> None:
        self._inner = inner

    async def __aenter__(self) -> AsyncStream[ResponseFormatT]:
        """Send the request."""
        return AsyncStream(await self._inner.__aenter__())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the connection."""
        await self._inner.__aexit__(kind, error, traceback)
