"""What the server asks of every engine: a life, ports for strategies, a wire face for requests nothing shapes, a tokenizer.

An engine implements either the *messages* port or the wire face natively; `trimtab.server.engines.faces` derives the other.
The wire face speaks OpenAI's JSON objects as dicts (whole answers) and JSON strings (stream chunks, without `data: `), so that
a passed-through request costs nothing and loses nothing.
"""

from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

from trimtab.strategies.core.engine import Call, Capabilities, Ports

Wire = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Health:
    """Whether an engine serves now."""

    state: Literal["starting", "ready", "restarting", "failed", "closed"]
    reason: str = ""
    retry_after_s: float = 5.0


class WireFace(Protocol):
    """OpenAI objects in and out. Errors are `trimtab.strategies.core.errors`; closing a stream aborts its work.

    `body` is a validated request without `alignment`; its `messages` are trusted to be well-formed. `model` in answers is the
    caller's `body["model"]`. Answers carry ids of their own (`chatcmpl-...`, `cmpl-...`).
    """

    async def chat(self, body: Mapping[str, Any], call: Call) -> Wire:
        """A `chat.completion` object."""
        ...

    def chat_stream(self, body: Mapping[str, Any], call: Call) -> AsyncGenerator[str, None]:
        """`chat.completion.chunk` objects as JSON strings: role first, finish last, then usage where asked for; no [DONE].

        Errors before the first chunk are raised by the first step of the generator, before anything is yielded.
        """
        ...

    async def completion(self, body: Mapping[str, Any], call: Call) -> Wire:
        """A `text_completion` object; prompts may be strings or token ids, one or many; echo and logprobs honoured."""
        ...

    def completion_stream(self, body: Mapping[str, Any], call: Call) -> AsyncGenerator[str, None]:
        """`text_completion` chunks as JSON strings; no [DONE]."""
        ...


class TokenizerFace(Protocol):
    """What `/tokenize`, `/detokenize` and `/tokenizer_info` answer: exactly what the engine will see."""

    def tokenize_chat(self, body: Mapping[str, Any]) -> list[int]:
        """Ids of `messages` (with `tools`, `add_generation_prompt`, `continue_final_message` of the body honoured)."""
        ...

    def tokenize_text(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        """Ids of a raw prompt as `/v1/completions` would encode it."""
        ...

    def detokenize(self, token_ids: Sequence[int]) -> str:
        """Text of ids, control tokens shown."""
        ...

    def token_strings(self, token_ids: Sequence[int]) -> list[str]:
        """One string a token."""
        ...

    def info(self) -> Wire:
        """`eos_token`, `bos_token`, `chat_template`, `tokenizer_class`, `vocab_size`, ... (strings and numbers)."""
        ...


class Engine(Protocol):
    """A model runtime behind the server."""

    @property
    def kind(self) -> str:
        """vllm, transformers, upstream or scripted."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What it honours; final once `start` has returned."""
        ...

    @property
    def ports(self) -> Ports:
        """What strategies may use; valid once `start` has returned (the objects survive a restart of the engine)."""
        ...

    @property
    def wire(self) -> WireFace:
        """The face for requests that nothing shapes, or whose shaped prompt is a conversation."""
        ...

    @property
    def tokenizer(self) -> TokenizerFace | None:
        """None for upstreams without one."""
        ...

    async def start(self) -> None:
        """Load the model; returns when requests can be served."""
        ...

    async def close(self) -> None:
        """End running work and free everything. Safe to call twice."""
        ...

    def health(self) -> Health:
        """The state now; never blocks."""
        ...

    async def abort(self, request_id: str) -> None:
        """End every piece of work that runs under this `Call.request_id`; unknown ids are fine."""
        ...

    def metrics(self) -> Mapping[str, float]:
        """Gauges for `/metrics`: running, waiting, and what the runtime counts; may be empty."""
        ...


@runtime_checkable
class Adapted(Protocol):
    """An engine whose model has adapters beside it."""

    def ports_under(self, adapter: str) -> Ports:
        """What strategies may use of the model under an adapter; valid once `start` has returned. Raises KeyError."""
        ...


@runtime_checkable
class Renewable(Protocol):
    """An engine whose weights can be replaced while it serves: the other half of online training."""

    @property
    def weights_version(self) -> int:
        """How often the weights were replaced since the engine was made; 0 = those it started with."""
        ...

    async def push_weights(self, directory: Path) -> int:
        """Compute with the weights of a checkpoint from here on; their version.

        What is under way ends on the old weights, what comes meanwhile waits for the new ones, and nothing computed with the
        old ones (prefix cache) is used again. Only weights are taken: tokenizer, template and generation config stay. The
        directory must stay as it is: an engine that is started again reads it again. Raises RequestRefused, with the old
        weights still served, for a directory that is not there or holds another model, and where adapters stand on the weights.
        """
        ...
