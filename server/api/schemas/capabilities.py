"""Capabilities: whether an engine honours what a request asks for. What it cannot is refused by name, never ignored. Pure."""

from collections.abc import Mapping
from typing import Any

from trimtab.strategies.core.engine import Capabilities
from trimtab.strategies.core.errors import RequestRefused

IMAGE_PARTS = frozenset({"image_url", "image", "image_pil", "image_embeds", "input_image", "video_url"})


def check_capabilities(body: Mapping[str, Any], capabilities: Capabilities, *, by: str = "this model's engine") -> None:
    """Raise RequestRefused (`unsupported_parameter`) naming the first field the engine cannot honour."""
    if not capabilities.tools and (body.get("tools") or _is_forced(body.get("tool_choice"))):
        raise _refused("tools", f"{by} has no tool calling")
    _check_format(body, capabilities, by)
    _check_logprobs(body, capabilities, by)
    if (body.get("n") or 1) > capabilities.n:
        raise _refused("n", f"{by} gives at most {capabilities.n} choices (asked for {body['n']})")
    if body.get("seed") is not None and not capabilities.seed:
        raise _refused("seed", f"{by} cannot seed its sampling")
    if body.get("logit_bias") and not capabilities.logit_bias:
        raise _refused("logit_bias", f"{by} cannot bias tokens")
    _check_parts(body.get("messages"), capabilities, by)


def _check_format(body: Mapping[str, Any], capabilities: Capabilities, by: str) -> None:
    kind = (body.get("response_format") or {}).get("type", "text")
    if kind != "text" and kind not in capabilities.response_format:
        allowed = ", ".join(sorted(capabilities.response_format))
        raise _refused("response_format", f"{by} cannot honour the type {str(kind)[:50]!r}; it honours: {allowed}")
    if body.get("structured_outputs") and not capabilities.response_format & {"structured_outputs", "json_schema"}:
        raise _refused("structured_outputs", f"{by} has no structured outputs")


def _check_logprobs(body: Mapping[str, Any], capabilities: Capabilities, by: str) -> None:
    if body.get("prompt_logprobs") is not None and not capabilities.prompt_logprobs:
        raise _refused("prompt_logprobs", f"{by} gives no log-probabilities of a prompt")
    wanted = body.get("logprobs")
    if wanted is None or wanted is False:
        return
    if capabilities.logprobs < 0:
        raise _refused("logprobs", f"{by} gives no log-probabilities")
    name, count = ("top_logprobs", body.get("top_logprobs") or 0) if wanted is True else ("logprobs", wanted)
    if count > capabilities.logprobs:
        raise _refused(name, f"{by} gives at most {capabilities.logprobs} of them (asked for {count})")
    if body.get("echo") and body.get("prompt") is not None and not capabilities.prompt_logprobs:
        raise _refused("echo", f"{by} gives no log-probabilities of a prompt")


def _check_parts(messages: Any, capabilities: Capabilities, by: str) -> None:
    for index, message in enumerate(messages or ()):
        content = message.get("content")
        if isinstance(content, str) or content is None:
            continue
        for place, part in enumerate(content):
            kind = part.get("type") if isinstance(part, Mapping) else None
            if kind in IMAGE_PARTS and capabilities.images:
                continue
            if kind not in {"text", "input_text", "refusal"}:
                raise _refused(f"messages.{index}.content.{place}", f"{by} takes text only, not {str(kind)[:50]!r}")


def _is_forced(choice: Any) -> bool:
    return isinstance(choice, Mapping) or choice == "required"


def _refused(param: str, message: str) -> RequestRefused:
    return RequestRefused(f"{param}: {message}", param=param, code="unsupported_parameter")
