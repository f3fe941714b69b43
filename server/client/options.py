"""Arguments of the clients: what both take, and how they become a place to send requests to."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

import httpx2
from openai import NotGiven, OpenAIError
from openai._models import FinalRequestOptions
from openai.types.chat import (
    ChatCompletionAudioParam,
    ChatCompletionPredictionContentParam,
    ChatCompletionStreamOptionsParam,
    ChatCompletionToolChoiceOptionParam,
    ChatCompletionToolUnionParam,
    completion_create_params,
)

from trimtab.artifacts.checkpoint import manifest_file, read_manifest
from trimtab.server.client.alignment import Alignment, as_request
from trimtab.server.client.local import ORIGIN, SERVERS, LocalServer, ServerSpec

LOCAL_URL = f"{ORIGIN}/v1"
"""Base URL over the private server's socket."""
NO_KEY = "none"
"""Sent where no key is configured; a server without keys asks for none."""
GENERATING = frozenset({"/chat/completions", "/completions", "/responses"})
"""Paths whose requests get the client's default model and alignment."""
BaseUrl = str | httpx2.URL | NotGiven | None


class ChatOptions(TypedDict, total=False):
    """Optional arguments of `chat.completions.create`, as openai-python names and types them."""

    audio: ChatCompletionAudioParam | None
    frequency_penalty: float | None
    function_call: completion_create_params.FunctionCall
    functions: Iterable[completion_create_params.Function]
    logit_bias: dict[str, int] | None
    logprobs: bool | None
    max_completion_tokens: int | None
    max_tokens: int | None
    metadata: dict[str, str] | None
    modalities: list[Any] | None
    moderation: completion_create_params.Moderation | None
    n: int | None
    parallel_tool_calls: bool
    prediction: ChatCompletionPredictionContentParam | None
    presence_penalty: float | None
    prompt_cache_key: str
    prompt_cache_options: completion_create_params.PromptCacheOptions
    prompt_cache_retention: Any
    reasoning_effort: Any
    safety_identifier: str
    seed: int | None
    service_tier: Any
    stop: str | list[str] | None
    store: bool | None
    stream_options: ChatCompletionStreamOptionsParam | None
    temperature: float | None
    tool_choice: ChatCompletionToolChoiceOptionParam
    tools: Iterable[ChatCompletionToolUnionParam]
    top_logprobs: int | None
    top_p: float | None
    user: str
    verbosity: Any
    web_search_options: completion_create_params.WebSearchOptions
    extra_headers: Mapping[str, Any] | None
    extra_query: Mapping[str, object] | None
    timeout: float | httpx2.Timeout | NotGiven | None


class FormattedChatOptions(ChatOptions, total=False):
    """`ChatOptions` of a request whose answer is not parsed."""

    response_format: completion_create_params.ResponseFormat


class ClientOptions(TypedDict, total=False):
    """Optional arguments of openai-python's clients that are handed on as they are."""

    admin_api_key: str | None
    workload_identity: Any
    organization: str | None
    project: str | None
    webhook_secret: str | None
    provider: Any
    data_residency: Any
    websocket_base_url: str | httpx2.URL | None
    timeout: float | httpx2.Timeout | NotGiven | None
    max_retries: int
    default_headers: Mapping[str, str] | None
    default_query: Mapping[str, object] | None
    _strict_response_validation: bool
    _enforce_credentials: bool


@dataclass(frozen=True, slots=True)
class Place:
    """Where requests go: a URL, over a private server's socket where there is one."""

    base_url: str | httpx2.URL
    server: LocalServer | None = None


def place_of(base_url: BaseUrl, spec: ServerSpec, *, has_http_client: bool) -> Place:
    """Where the requests of a client go. Raises OpenAIError where its arguments contradict each other or name no place."""
    given = None if isinstance(base_url, NotGiven) else base_url
    local = [name for name in ("engine", "config") if getattr(spec, name) is not None]
    url = given or os.environ.get("OPENAI_BASE_URL")
    if url and local:
        source = "base_url" if given else "the environment's OPENAI_BASE_URL"
        raise OpenAIError(
            f"{source} names a server that runs already, {' and '.join(local)} one that is to be started: give one of them"
        )
    if url:
        return Place(url)
    if spec == ServerSpec():
        raise OpenAIError(
            "no server: give base_url (or set OPENAI_BASE_URL) for one that runs, or model, engine or config for a private one"
        )
    if has_http_client:
        raise OpenAIError("http_client needs base_url: a private server is reached over a socket of its own")
    return Place(LOCAL_URL, SERVERS.get(spec))


def spec_of(model: str | None, engine: str | None, config: str | os.PathLike[str] | None) -> ServerSpec:
    """What a private server of these arguments would run; paths made absolute, so that equal ones are shared."""
    return ServerSpec(model, engine, None if config is None else str(Path(config).resolve()))


def name_of(model: str | None) -> str:
    """What a private server of `model` calls it: a run's directory names it itself; "" = what the server puts first."""
    if model is None or manifest_file(model) is None:
        return model or ""
    manifest = read_manifest(Path(model).expanduser())
    return manifest.name or "" if manifest else ""


def key_of(api_key: Any, place: Place) -> Any:
    """The key to send: never the environment's to a private server."""
    if api_key is not None:
        return api_key
    return NO_KEY if place.server is not None else os.environ.get("OPENAI_API_KEY") or NO_KEY


def with_defaults(options: FinalRequestOptions, model: str | None, alignment: Alignment | None) -> FinalRequestOptions:
    """The request with the client's model and alignment where it names none itself."""
    if options.method.lower() != "post" or options.url not in GENERATING:
        return options
    body = dict(options.json_data) if isinstance(options.json_data, Mapping) else {}
    extra = options.extra_json or {}
    if model is not None and "model" not in extra and not body.get("model"):
        body["model"] = model
    if alignment is not None and "alignment" not in extra:
        body.setdefault("alignment", as_request(alignment))
    options.json_data = body
    return options


def body_with(alignment: Alignment | None, extra_body: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The extra body of a request with its alignment. Raises OpenAIError where both name one."""
    if alignment is None:
        return None if extra_body is None else dict(extra_body)
    if extra_body is not None and "alignment" in extra_body:
        raise OpenAIError("alignment is given twice: as an argument and in extra_body")
    return {**(extra_body or {}), "alignment": as_request(alignment)}


def model_of(model: str | None, default: str | None) -> str:
    """The model of a request. Raises OpenAIError where neither it nor the client names one."""
    chosen = default if model is None else model
    if chosen is None:
        raise OpenAIError("no model: give model to the request, or to the client as the default of its requests")
    return chosen
