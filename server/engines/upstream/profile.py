"""What an upstream is and can do: asked at the start, and learned from what it refuses later."""

from dataclasses import dataclass, field, replace

from trimtab.strategies.core.engine import Capabilities

ESCAPED = "control strings inside content are broken by a zero-width space before they are sent: the tokenizer is out of reach"
JUDGED = "tools, response_format, images, seed and log-probabilities are judged by the upstream itself"


@dataclass(frozen=True, slots=True)
class Profile:
    """Answers of the probe; the values are those of an upstream that was not asked."""

    model: str
    """Model name there."""
    is_vllm: bool = False
    has_completions: bool = False
    has_tokenizer: bool = False
    """Whether it tokenizes for others."""
    has_tokens: bool = False
    """Whether ids go in and out with log-probabilities of chosen ids (a vLLM server new enough)."""
    has_prompt_logprobs: bool = False
    """Whether `/v1/completions` echoes a prompt with its log-probabilities."""
    max_model_len: int | None = None
    eos_token_ids: frozenset[int] = frozenset()
    tokenizer_info: dict[str, object] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def capabilities(self) -> Capabilities:
        """What requests may ask for. What only the upstream can know is let through, for it to judge."""
        return Capabilities(
            prefill=self.is_vllm,
            tools=True,
            response_format=frozenset({"text", "json_object", "json_schema"}),
            logprobs=20,
            n=128,
            seed=True,
            images=True,
            logit_bias=True,
            prompt_logprobs=self.has_prompt_logprobs,
            safe_content="escape",
            max_model_len=self.max_model_len,
            notes=(ESCAPED, JUDGED, *self.notes),
        )


@dataclass(slots=True)
class Learned:
    """What an upstream turned out not to know. Shared by all requests of the engine; it only ever grows."""

    capabilities: Capabilities
    max_tokens_field: str = "max_tokens"
    """`max_completion_tokens` for upstreams that insist on it."""
    stream_options: bool = True
    many_choices: bool = True
    """Whether `n` is honoured; otherwise each choice is a request of its own."""

    def adapt(self, param: str, message: str, body: dict[str, object]) -> bool:
        """Note what a 400 refuses; whether the request is worth another form."""
        if "max_tokens" in body and "max_completion_tokens" in message:
            self.max_tokens_field = "max_completion_tokens"
            return True
        if "stream_options" in body and (param == "stream_options" or "stream_options" in message):
            self.stream_options = False
            self.note("usage is unknown on streams: the upstream knows no stream_options")
            return True
        if body.get("n", 1) != 1 and (param == "n" or "'n'" in message or "`n`" in message):
            self.one_choice()
            return True
        if "logprobs" in body and (param in {"logprobs", "top_logprobs"} or "logprobs" in message):
            self.capabilities = replace(self.capabilities, logprobs=-1)
        return False

    def one_choice(self) -> None:
        """Note that `n` is not honoured."""
        self.many_choices = False
        self.capabilities = replace(self.capabilities, n=1)

    def note(self, text: str) -> None:
        """Add a note to the capabilities, once."""
        if text not in self.capabilities.notes:
            self.capabilities = replace(self.capabilities, notes=(*self.capabilities.notes, text))
