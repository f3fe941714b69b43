"""`AsyncOpenAI`: openai-python's client with `alignment` in requests and answers, and a private server where asked for."""

import asyncio
import os
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import Any, Literal, Self, Unpack, cast, overload

import httpx2
import openai
from openai import AsyncStream
from openai._models import FinalRequestOptions
from openai.lib._parsing import ResponseFormatT
from openai.resources.chat import AsyncChat as OpenAsyncChat
from openai.resources.chat import AsyncCompletions as OpenAsyncCompletions
from openai.types.chat import ChatCompletionMessageParam

from trimtab.server.client.alignment import (
    Alignment,
    ChatCompletion,
    ChatCompletionChunk,
    ParsedChatCompletion,
    aligned_class,
    aligned_parse,
)
from trimtab.server.client.local import LocalServer
from trimtab.server.client.options import (
    BaseUrl,
    ChatOptions,
    ClientOptions,
    FormattedChatOptions,
    Place,
    body_with,
    key_of,
    model_of,
    name_of,
    place_of,
    spec_of,
    with_defaults,
)
from trimtab.server.client.streams import AsyncStreamManager

Messages = Iterable[ChatCompletionMessageParam]
Body = Mapping[str, Any]


class AsyncCompletions(OpenAsyncCompletions):
    """`client.chat.completions`; `model` may be left out where the client has one."""

    _client: "AsyncOpenAI"

    @overload  # type: ignore[override]
    async def create(
        self,
        *,
        messages: Messages,
        model: str | None = None,
        alignment: Alignment | None = None,
        stream: Literal[False] | None = None,
        extra_body: Body | None = None,
        **options: Unpack[FormattedChatOptions],
    ) -> ChatCompletion: ...

    @overload
    async def create(
        self,
        *,
        messages: Messages,
        stream: Literal[True],
        model: str | None = None,
        alignment: Alignment | None = None,
        extra_body: Body | None = None,
        **options: Unpack[FormattedChatOptions],
    ) -> AsyncStream[ChatCompletionChunk]: ...

    @overload
    async def create(
        self,
        *,
        messages: Messages,
        stream: bool,
        model: str | None = None,
        alignment: Alignment | None = None,
        extra_body: Body | None = None,
        **options: Unpack[FormattedChatOptions],
    ) -> ChatCompletion | AsyncStream[ChatCompletionChunk]: ...

    async def create(
        self,
        *,
        messages: Messages,
        model: str | None = None,
        alignment: Alignment | None = None,
        stream: bool | None = None,
        extra_body: Body | None = None,
        **options: Unpack[FormattedChatOptions],
    ) -> ChatCompletion | AsyncStream[ChatCompletionChunk]:
        """An answer, or the stream of one. alignment: a strategy's name, steps, or the whole object; default the client's."""
        create = cast("Any", super().create)
        return cast(
            "ChatCompletion | AsyncStream[ChatCompletionChunk]",
            await create(
                messages=messages,
                model=model_of(model, self._client.default_model),
                stream=openai.omit if stream is None else stream,
                extra_body=body_with(alignment, extra_body),
                **options,
            ),
        )

    async def parse(  # type: ignore[override]
        self,
        *,
        messages: Messages,
        model: str | None = None,
        alignment: Alignment | None = None,
        response_format: type[ResponseFormatT] | openai.Omit = openai.omit,
        extra_body: Body | None = None,
        **options: Unpack[ChatOptions],
    ) -> ParsedChatCompletion[ResponseFormatT]:
        """An answer parsed into `response_format`, a pydantic model."""
        parse = cast("Any", super().parse)
        parsed = await parse(
            messages=messages,
            model=model_of(model, self._client.default_model),
            response_format=response_format,
            extra_body=body_with(alignment, extra_body),
            **options,
        )
        is_answer = isinstance(parsed, openai.types.chat.ChatCompletion)
        return aligned_parse(parsed) if is_answer else cast("ParsedChatCompletion[ResponseFormatT]", parsed)

    def stream(  # type: ignore[override]
        self,
        *,
        messages: Messages,
        model: str | None = None,
        alignment: Alignment | None = None,
        response_format: Any = openai.omit,
        extra_body: Body | None = None,
        **options: Unpack[ChatOptions],
    ) -> AsyncStreamManager[Any]:
        """A context manager over the events of an answer; its final completion carries `alignment`."""
        stream = cast("Any", super().stream)
        return AsyncStreamManager(
            stream(
                messages=messages,
                model=model_of(model, self._client.default_model),
                response_format=response_format,
                extra_body=body_with(alignment, extra_body),
                **options,
            )
        )


class AsyncChat(OpenAsyncChat):
    """`client.chat`."""

    _client: "AsyncOpenAI"

    @cached_property
    def completions(self) -> AsyncCompletions:
        """Chat completions."""
        return AsyncCompletions(self._client)


class AsyncOpenAI(openai.AsyncOpenAI):
    """openai-python's client for an aligned model.

    With `base_url` (or OPENAI_BASE_URL) it speaks to a server. Without, it starts a private one for `model` (or `engine`, or
    `config`) that ends with the process. The server starts while the program goes on; the first request waits for it.
    model, alignment: the defaults of its requests. engine: auto, vllm, transformers or scripted. config: a trimtab.yaml.
    Raises OpenAIError for arguments that contradict each other, LocalServerError for a server that does not start.
    """

    def __init__(
        self,
        *,
        model: str | None = None,
        alignment: Alignment | None = None,
        engine: str | None = None,
        config: str | os.PathLike[str] | None = None,
        base_url: BaseUrl = None,
        api_key: Any = None,
        http_client: httpx2.AsyncClient | None = None,
        server: LocalServer | None = None,
        **options: Unpack[ClientOptions],
    ) -> None:
        place = (
            Place(str(base_url), server)
            if server is not None
            else place_of(base_url, spec_of(model, engine, config), has_http_client=http_client is not None)
        )
        if place.server is not None and http_client is None:
            http_client = _over_socket(place.server)
            place.server.start()
        self.model = model
        self._own_name = model if place.server is None else name_of(model)
        self.alignment = alignment
        self._server = place.server
        super().__init__(base_url=place.base_url, api_key=key_of(api_key, place), http_client=http_client, **options)

    @cached_property
    def chat(self) -> AsyncChat:
        """Chat."""
        return AsyncChat(self)

    @property
    def default_model(self) -> str | None:
        """What requests get that name no model; "" = what the private server puts first, known once it serves."""
        return self._own_name

    def copy(self, *, _extra_kwargs: Mapping[str, Any] | None = None, **options: Any) -> Self:
        """The same client with other options, over the same connections."""
        own: dict[str, Any] = {"model": self.model, "alignment": self.alignment}
        if self._server is not None and options.get("base_url") is None:
            own["server"] = self._server
        return super().copy(_extra_kwargs={**own, **(_extra_kwargs or {})}, **options)

    with_options = copy

    async def _prepare_options(self, options: FinalRequestOptions) -> FinalRequestOptions:
        """Wait for the private server, and fill in the client's defaults."""
        if self._server is not None and not self._server.is_ready:
            await asyncio.to_thread(self._server.ready)
        return await super()._prepare_options(with_defaults(options, self._resolved_model(), self.alignment))

    def _resolved_model(self) -> str | None:
        return self._server.default_model if self._server is not None and not self._own_name else self._own_name

    def _process_response_data(self, *, data: object, cast_to: type[Any], response: httpx2.Response) -> Any:
        """Parse an answer into the class that knows `alignment`."""
        return super()._process_response_data(data=data, cast_to=aligned_class(cast_to), response=response)


def _over_socket(server: LocalServer) -> httpx2.AsyncClient:
    """A client of openai-python's timeouts and limits over the server's socket."""
    transport = httpx2.AsyncHTTPTransport(uds=str(server.socket_path), limits=openai.DEFAULT_CONNECTION_LIMITS)
    return openai.DefaultAsyncHttpxClient(transport=transport, trust_env=False)
