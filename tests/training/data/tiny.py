"""Byte-level tokenizers made on the spot, with whatever is odd about a real one."""

from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, pre_tokenizers, processors
from tokenizers.models import BPE
from transformers import PreTrainedTokenizerFast

CHAT = (
    "{% for m in messages %}<|start|>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|start|>assistant\n{% endif %}"
)
HEADERLESS = "{% for m in messages %}<|start|>{{ m.role }}\n{{ m.content }}<|end|>\n{% endfor %}"
ENDLESS = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}{% if add_generation_prompt %}assistant: {% endif %}"
)
TRIMMING = (
    "{% for m in messages %}[{{ m.role }}]{{ m.content | trim }}<|eos|>{% endfor %}"
    "{% if add_generation_prompt %}[assistant]{% endif %}"
)
STRICT = "{% if messages[0].role == 'system' %}{{ raise_exception('no system turns here') }}{% endif %}" + CHAT
SPECIALS = ("<|start|>", "<|end|>", "<|eos|>", "<|bos|>", "<|pad|>")


def tokenizer(
    template: str | None = CHAT,
    *,
    merges: tuple[tuple[str, str], ...] = (),
    eos: str | None = "<|end|>",
    pad: str = "<|pad|>",
    bos: str | None = None,
) -> Any:
    """A tokenizer of bytes and of `merges`, which reach across words. bos: put before raw text."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = [*SPECIALS, *alphabet, *("".join(merge) for merge in merges)]
    backend = Tokenizer(BPE(vocab={token: place for place, token in enumerate(vocabulary)}, merges=list(merges)))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(text, normalized=False) for text in SPECIALS])
    if bos is not None:
        place = vocabulary.index(bos)
        backend.post_processor = processors.TemplateProcessing(single=f"{bos} $A", special_tokens=[(bos, place)])
    made = PreTrainedTokenizerFast(tokenizer_object=backend, eos_token=eos, pad_token=pad, bos_token=bos)
    made.chat_template = template
    return made


def shown(made: Any, ids: tuple[int, ...]) -> str:
    """Tokens as text, control tokens too."""
    return str(made.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))


def counted(made: Any, tokens: Any) -> str:
    """The text of the tokens that count."""
    return shown(made, tuple(token for token, weight in zip(tokens.ids, tokens.weights, strict=True) if weight))
