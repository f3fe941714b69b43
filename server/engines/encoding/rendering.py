"""A model's chat template as a function from chat input to text, and what can be known about it beforehand."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jinja2 import TemplateError

from trimtab.server.engines.encoding.chat_input import ChatInput
from trimtab.server.engines.encoding.controls import template_literals, template_sources
from trimtab.server.engines.encoding.scan import words
from trimtab.strategies.core.errors import RequestRefused

NOT_VARIABLES = words(
    "conversation messages tools chat_template tokenize add_generation_prompt continue_final_message return_dict "
    "return_tensors return_assistant_tokens_mask padding truncation max_length tokenizer_kwargs"
)
"""Names that are no template variables; special-token names (`bos_token`, ...) are refused as well."""

_RENDERING_ERRORS = (TemplateError, TypeError, ValueError, LookupError, AttributeError, ArithmeticError)
"""What a template raises on a conversation it was not written for."""

PART_SEPARATOR = "\n"
"""Between text parts for templates that take strings only, as vLLM joins them."""

_MESSAGE_LIMIT = 300

SHAPES = (("user",), ("system", "user"), ("user", "assistant", "user"), ("system", "user", "assistant", "user"))
"""Roles of the conversations that a template is tried on."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a rendered conversation ends."""

    generation_prompt: bool = True
    """With the beginning of the assistant's turn."""
    continue_final: bool = False
    """With its last message left open."""


class TemplateRenderer:
    """Renders conversations as `tokenizer.apply_chat_template` does. Safe to share among threads."""

    def __init__(self, tokenizer: Any, chat_template: str | None) -> None:
        self._tokenizer = tokenizer
        self._template: str | Mapping[str, str] | None = chat_template if chat_template is not None else tokenizer.chat_template
        sources = template_sources(self._template)
        self.exists = bool(sources)
        self.source = "\n".join(sources)
        """The template's own text."""
        self.literals = template_literals(sources)
        """Every string the template can write of its own."""
        self.takes_parts = True
        """Whether the template reads content given as a list of text parts; if not, their texts are joined by line breaks."""
        self.takes_parts = not self.exists or self._reads_parts()

    def render(self, chat: ChatInput, ending: Ending) -> str:
        """The prompt as text. Raises RequestRefused where there is no template or it refuses the conversation."""
        return str(self._applied(chat, ending, tokenize=False))

    def _reads_parts(self) -> bool:
        parts = [{"role": "user", "content": [{"type": "text", "text": "x"}]}]
        try:
            return self.render(ChatInput(parts), Ending()) == self._sample(["user"])
        except RequestRefused:
            return False

    def samples(self) -> tuple[str, ...]:
        """Renderings of short conversations in the usual roles, as far as the template accepts them."""
        return tuple(self._sample(roles) for roles in SHAPES)

    def _sample(self, roles: Sequence[str]) -> str:
        try:
            return self.render(ChatInput([{"role": role, "content": "x"} for role in roles]), Ending())
        except RequestRefused:
            return ""

    def reference_ids(self, chat: ChatInput, ending: Ending) -> list[int]:
        """The ids of the undefended path, by the tokenizer itself: not for use while other threads use it."""
        return list(self._applied(chat, ending, tokenize=True))

    def check_variables(self, variables: Mapping[str, Any]) -> None:
        """Raises RequestRefused for a template variable whose name belongs to the renderer or the tokenizer."""
        taken = sorted(variables.keys() & (NOT_VARIABLES | self._tokenizer.special_tokens_map.keys()))
        if taken:
            raise RequestRefused(f"{taken[0]!r} is no template variable that a request can set", param="chat_template_kwargs")

    def _applied(self, chat: ChatInput, ending: Ending, *, tokenize: bool) -> Any:
        if not self.exists:
            raise RequestRefused("this model has no chat template; send a raw prompt instead", param="messages")
        if not self.takes_parts:
            chat = chat.with_joined_parts(PART_SEPARATOR)
        try:
            return self._tokenizer.apply_chat_template(
                [dict(message) for message in chat.messages],
                tools=None if chat.tools is None else [dict(tool) for tool in chat.tools],
                chat_template=self._template if isinstance(self._template, str) else None,
                add_generation_prompt=ending.generation_prompt,
                continue_final_message=ending.continue_final,
                tokenize=tokenize,
                return_dict=False,
                **chat.variables,
            )
        except _RENDERING_ERRORS as error:
            raise RequestRefused(f"the chat template refuses this: {str(error)[:_MESSAGE_LIMIT]}", param="messages") from error
