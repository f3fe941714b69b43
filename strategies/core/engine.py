"""Ports: what a strategy may ask of an engine. An engine declares which it has; a pipeline is checked when it is built.

*messages* (every engine): chat in, deltas out. *text*: a raw prompt. *tokens*: ids in, ids and log-probabilities out.
*scores*: a number for each conversation. Closing the returned generator aborts the work in the engine.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from trimtab.artifacts.correction import CorrectionTemplate
from trimtab.strategies.core.messages import EMPTY, Conversation, Delta, Text

PortName = Literal["messages", "text", "tokens", "scores"]


@dataclass(frozen=True, slots=True)
class Params:
    """How to sample. None means the model's own default (its generation config), as in the engine's plain requests."""

    max_tokens: int | None = None
    """Longest answer in tokens; None = up to the context window."""
    n: int = 1
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    min_p: float | None = None
    repetition_penalty: float | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()
    """Strings that end the answer; the string itself is left out of the text."""
    stop_token_ids: tuple[int, ...] = ()
    logprobs: int | None = None
    """None = none; k >= 0 = the sampled token's log-probability and the k most likely ones', raw (before temperature)."""
    logprob_token_ids: tuple[int, ...] = ()
    """Also the raw log-probabilities of these ids at each position (token level only)."""
    allowed_token_ids: tuple[int, ...] = ()
    """Only these ids may be sampled (token level only)."""
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    ignore_eos: bool = False
    min_tokens: int = 0
    in_one: bool = False
    """Whether a sample may come as one delta without text, when it is complete (token level only): cheaper where n is large."""
    native: Mapping[str, Any] = field(default_factory=lambda: EMPTY)
    """Chat-only wire fields handed to the engine's chat layer as they are: tools, tool_choice, response_format, ..."""

    def freed(self, *, max_tokens: int, seed: int | None) -> "Params":
        """The same sampling for one text that is no answer, free of what binds the answer alone: its choices, stops, chosen or
        counted tokens, log-probabilities and chat-only fields."""
        return Params(
            max_tokens=max_tokens,
            temperature=self.temperature,
            top_p=self.top_p,
            top_k=self.top_k,
            min_p=self.min_p,
            repetition_penalty=self.repetition_penalty,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            seed=seed,
        )


@dataclass(frozen=True, slots=True)
class Call:
    """Under which name an engine call runs. All of it is the server's; nothing of it comes from a client."""

    request_id: str
    """Unique in the process; one id for all engine calls of an HTTP request."""
    role: str = "policy"
    priority: int = 0
    """Lower runs first."""
    cache_salt: str | None = None
    """Isolates the prefix cache of this key from others."""


@dataclass(frozen=True, slots=True)
class TokenDelta:
    """New tokens of one sample."""

    index: int
    token_ids: tuple[int, ...]
    logprobs: tuple[float, ...] = ()
    """Raw log-probability of each token of `token_ids`, in nats, where asked for."""
    top_logprobs: tuple[Mapping[int, float], ...] = ()
    """For each token: id -> raw log-probability of the `Params.logprobs` best and of `Params.logprob_token_ids`."""
    text: str = ""
    """Newly decoded text (stop strings cut off)."""
    finish_reason: str | None = None
    cached_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What an engine can honour; shown by `/v1/models`, checked before a request reaches it."""

    prefill: bool = True
    """Whether an answer can be continued from given first words."""
    tools: bool = False
    response_format: frozenset[str] = frozenset({"text"})
    """Honoured values of `response_format.type`."""
    logprobs: int = 20
    """Largest `top_logprobs`; -1 = no log-probabilities at all."""
    n: int = 16
    seed: bool = True
    images: bool = False
    logit_bias: bool = True
    prompt_logprobs: bool = False
    """Whether `/v1/completions` can echo a prompt with its log-probabilities."""
    safe_content: Literal["segment", "escape", "off"] = "off"
    """How special-token strings inside content are kept from becoming control tokens."""
    max_model_len: int | None = None
    """Context window in tokens, where known."""
    correction: CorrectionTemplate | None = None
    """How this model is asked to correct an answer, where its checkpoint or the operator says so."""
    notes: tuple[str, ...] = ()


class MessagesPort(Protocol):
    """Chat in, deltas out, with the engine's native tools, log-probabilities, structured output and images."""

    def chat(self, conversation: Conversation, params: Params, call: Call) -> AsyncGenerator[Delta, None]:
        """The answer to a conversation; the last delta of the call carries `usage`."""
        ...


class TextPort(Protocol):
    """A raw prompt in, deltas out."""

    def complete(self, text: Text, params: Params, call: Call) -> AsyncGenerator[Delta, None]:
        """The continuation of a raw prompt; the last delta of the call carries `usage`."""
        ...


class TokensPort(Protocol):
    """Token ids in, token ids and log-probabilities out, with exact cancellation."""

    @property
    def eos_token_ids(self) -> frozenset[int]:
        """The ids that end an answer."""
        ...

    def encode_chat(self, conversation: Conversation) -> tuple[int, ...]:
        """The ids of a conversation with the generation prompt (or the prefill) at its end; content forges no control token."""
        ...

    def encode_text(self, text: Text) -> tuple[int, ...]:
        """The ids of a raw prompt; `content` segments forge no control token."""
        ...

    def decode(self, token_ids: Sequence[int]) -> str:
        """The text of ids, control tokens left out."""
        ...

    def generate(self, prompt_token_ids: Sequence[int], params: Params, call: Call) -> AsyncGenerator[TokenDelta, None]:
        """Continuations of a list of ids."""
        ...

    async def next_logprobs(self, prompt_token_ids: Sequence[int], candidates: Sequence[int], call: Call) -> tuple[float, ...]:
        """Raw log-probabilities, in nats, of each candidate id as the next token."""
        ...


class ScoresPort(Protocol):
    """A number for each conversation: a reward model, a classifier or a judge."""

    async def score(self, conversations: Sequence[Conversation], call: Call) -> tuple[float, ...]:
        """Higher is better; one number a conversation, whose last message is the answer."""
        ...


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports an engine has."""

    messages: MessagesPort | None = None
    text: TextPort | None = None
    tokens: TokensPort | None = None
    scores: ScoresPort | None = None
    capabilities: Capabilities = field(default_factory=Capabilities)

    def names(self) -> frozenset[PortName]:
        """Which of the four are there."""
        all_names: tuple[PortName, ...] = ("messages", "text", "tokens", "scores")
        return frozenset(name for name in all_names if getattr(self, name) is not None)
