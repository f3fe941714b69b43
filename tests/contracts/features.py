"""What each engine is declared to do, endpoint by endpoint: the conformance suite runs it, the README's matrix shows it.

A cell is a promise. `yes`: the suite checks that it works. `refused`: the suite checks for a 400 that names the field.
`upstream`: it is passed on and the upstream decides, so that the suite checks only that it arrives there.
"""

from dataclasses import dataclass
from typing import Literal

EngineName = Literal["transformers", "vllm", "upstream", "scripted"]
State = Literal["yes", "refused", "upstream"]

ENGINES: tuple[EngineName, ...] = ("transformers", "vllm", "upstream", "scripted")


@dataclass(frozen=True, slots=True)
class Feature:
    """One row: something a client may ask of an endpoint."""

    endpoint: str
    name: str
    """In words, as the matrix shows it."""
    transformers: State = "yes"
    vllm: State = "yes"
    upstream: State = "yes"
    scripted: State = "yes"

    @property
    def id(self) -> str:
        """A name for tests: `chat/n choices`."""
        return f"{self.endpoint.removeprefix('/v1/').removesuffix('/completions').strip('/')}/{self.name}"

    def state(self, engine: EngineName) -> State:
        """The promise for one engine."""
        states: dict[EngineName, State] = {
            "transformers": self.transformers,
            "vllm": self.vllm,
            "upstream": self.upstream,
            "scripted": self.scripted,
        }
        return states[engine]


CHAT, COMPLETIONS, RESPONSES = "/v1/chat/completions", "/v1/completions", "/v1/responses"

FEATURES: tuple[Feature, ...] = (
    Feature(CHAT, "answer"),
    Feature(CHAT, "stream, usage chunk"),
    Feature(CHAT, "n choices"),
    Feature(CHAT, "stop strings"),
    Feature(CHAT, "seed", upstream="upstream"),
    Feature(CHAT, "logprobs, top_logprobs", upstream="upstream"),
    Feature(CHAT, "max_completion_tokens"),
    Feature(CHAT, "tools", transformers="refused", upstream="upstream"),
    Feature(CHAT, "response_format json_schema", transformers="refused", upstream="upstream"),
    Feature(CHAT, "alignment object"),
    Feature(COMPLETIONS, "text prompt"),
    Feature(COMPLETIONS, "stream"),
    Feature(COMPLETIONS, "token-id prompts", upstream="upstream"),
    Feature(COMPLETIONS, "echo with logprobs", upstream="upstream"),
    Feature(RESPONSES, "text input, instructions"),
    Feature(RESPONSES, "stream"),
    Feature(RESPONSES, "store or background", "refused", "refused", "refused", "refused"),
    Feature("/v1/models", "list, retrieve"),
    Feature("/v1/embeddings", "float and base64"),
    Feature("/tokenize", "prompt and messages", upstream="upstream"),
    Feature("/detokenize", "token ids", upstream="upstream"),
    Feature("/tokenizer_info", "special tokens, template", upstream="upstream"),
)
