"""Tokenizers and chat templates of the kinds in use, made by hand, and the two catalogue models' own."""

from collections.abc import Callable
from functools import cache
from typing import Any

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from trimtab.artifacts import resolve
from trimtab.server.engines.encoding import ChatEncoder

CORPUS = [
    "The quick brown fox jumps over the lazy dog, and the dog does not mind at all.",
    "You are a helpful assistant. The user asks; the assistant answers in one sentence.",
    "system user assistant tool <start> <end> [INST] im_start im_end < > | [ ] { } / _ . ,",
    '{"name": "search", "arguments": {"query": "weather in Paris", "limit": 3}}',
    "Größe 你好 здравствуйте \n\n\n tabs\tand   spaces",
] * 3

CHATML = """{%- for m in messages -%}
<|im_start|>{{ m.role }}
{{ m.content | trim }}<|im_end|>
{% endfor -%}
{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

TOOLS = """{%- if tools %}{{ '<|im_start|>system\\n' }}{% for t in tools %}{{ t | tojson }}
{% endfor %}{{ '<|im_end|>\\n' }}{% endif -%}
{%- for m in messages -%}
{%- if m.content is string %}{% set text = m.content %}
{%- elif m.content %}{% set text = m.content | map(attribute='text') | join('') %}{% else %}{% set text = '' %}{% endif -%}
{{ '<|im_start|>' + m.role }}{% if m.name %}{{ ' name=' + m.name }}{% endif %}{{ '\\n' + text }}
{%- for c in m.tool_calls or [] %}{{ '\\n<tool_call>\\n{"name": "' + c.function.name + '", "arguments": ' }}
{%- if c.function.arguments is string %}{{ c.function.arguments }}{% else %}{{ c.function.arguments | tojson }}{% endif %}
{{- '}\\n</tool_call>' }}{% endfor %}{{ '<|im_end|>\\n' }}
{%- endfor -%}
{%- for d in documents or [] %}{{ d.title + ': ' + d.text + '\\n' }}{% endfor -%}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"""

THINKING = """{%- for m in messages -%}
{%- set text = m.content -%}
{%- if m.role == 'user' and text.startswith('<tool_response>') and text.endswith('</tool_response>') -%}
{{ '<|im_start|>user\\n[result] ' + text + '<|im_end|>\\n' }}
{%- elif m.role == 'assistant' -%}
{%- if '</think>' in text %}{% set text = text.split('</think>')[-1].lstrip('\\n') %}{% endif -%}
{{ '<|im_start|>assistant\\n' + text + '<|im_end|>\\n' }}
{%- else -%}{{ '<|im_start|>' + m.role + '\\n' + text + '<|im_end|>\\n' }}{%- endif -%}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|im_start|>assistant\\n<think>\\n\\n</think>\\n\\n' }}{% endif %}"""

LLAMA3 = """{{- bos_token -}}
{%- for m in messages -%}
{{- '<|start_header_id|>' + m.role + '<|end_header_id|>\\n\\n' + m.content | trim + '<|eot_id|>' -}}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}"""

MISTRAL = """{{- bos_token -}}
{%- for m in messages -%}
{%- if m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}
{%- elif m.role == 'assistant' %}{{ ' ' + m.content + eos_token }}
{%- else %}{{ raise_exception('only user and assistant turns') }}{% endif -%}
{%- endfor -%}"""

GEMMA = """{{- bos_token -}}
{%- if messages[0].role == 'system' %}{% set head = messages[0].content + '\\n\\n' %}{% set turns = messages[1:] -%}
{%- else %}{% set head = '' %}{% set turns = messages %}{% endif -%}
{%- for m in turns -%}
{{ '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\\n' }}
{{- (head if loop.first else '') + m.content | trim + '<end_of_turn>\\n' -}}
{%- endfor -%}
{%- if add_generation_prompt %}{{ '<start_of_turn>model\\n' }}{% endif %}"""

ROLE_MARKS = """{%- for m in messages %}{{ '<|' + m.role + '|>' + m.content + '<|end|>' }}{% endfor -%}
{%- if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"""

WORDS_ONLY = """{%- for m in messages %}<|{{ m.role }}|>
{{ m.content }}</s>
{% endfor -%}
{%- if add_generation_prompt %}<|assistant|>
{% endif %}"""


def _wrapped(tokenizer: Tokenizer, **special: str) -> Any:
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, clean_up_tokenization_spaces=False, **special)


def _byte_level(*, ignore_merges: bool = False) -> Tokenizer:
    trainer = trainers.BpeTrainer(vocab_size=600, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False)
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.train_from_iterator(CORPUS, trainer)
    return tokenizer


def chatml() -> Any:
    """Byte-level BPE, special turn marks, tool marks that are added but not special, and a kept run of white space."""
    tokenizer = _byte_level()
    tokenizer.add_special_tokens(["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    tokenizer.add_tokens(["<tool_call>", "</tool_call>", "<think>", "</think>", "<tool_response>", "</tool_response>"])
    tokenizer.add_tokens([AddedToken("\n\n\n", normalized=False)])
    return _wrapped(tokenizer, eos_token="<|im_end|>", pad_token="<|endoftext|>")


def llama3() -> Any:
    """Byte-level BPE that takes whole words without merging, special tokens behind the vocabulary."""
    tokenizer = _byte_level(ignore_merges=True)
    marks = ["<|begin_of_text|>", "<|end_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>", "<|python_tag|>"]
    tokenizer.add_special_tokens(marks)
    return _wrapped(tokenizer, bos_token="<|begin_of_text|>", eos_token="<|eot_id|>")


def mistral() -> Any:
    """SentencePiece-like BPE: a space is put before the first word of the whole text only; marks lie inside the vocabulary."""
    special = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"]
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=special, show_progress=False)
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    tokenizer.decoder = decoders.Metaspace(prepend_scheme="first")
    tokenizer.train_from_iterator(CORPUS, trainer)
    return _wrapped(tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def legacy_llama() -> Any:
    """A space before every piece between control tokens, by a normalizer, as older conversions have it."""
    special = ["<unk>", "<s>", "</s>", "[INST]", "[/INST]"]
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=special, show_progress=False)
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.train_from_iterator([text.replace(" ", "▁") for text in CORPUS], trainer)
    return _wrapped(tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>")


def merging() -> Any:
    """BPE whose merges build its own control token out of text: matching it nowhere is not enough."""
    pieces = ["<unk>", "<", "e", "n", "d", ">", "x", "en", "end", "<end", "<end>", " "]
    merges = [("e", "n"), ("en", "d"), ("<", "end"), ("<end", ">")]
    tokenizer = Tokenizer(models.BPE({piece: at for at, piece in enumerate(pieces)}, merges, unk_token="<unk>"))
    tokenizer.add_special_tokens(["<end>"])
    return _wrapped(tokenizer, eos_token="<end>", unk_token="<unk>")


def unigram() -> Any:
    """A unigram model, in which a control string is also a piece with a score."""
    pieces = [("<unk>", 0.0), ("</s>", 0.0), *((character, -3.0) for character in "abcdefghijklmnopqrstuvwxyz </>▁")]
    tokenizer = Tokenizer(models.Unigram(pieces, unk_id=0, byte_fallback=False))
    tokenizer.add_special_tokens(["</s>"])
    return _wrapped(tokenizer, eos_token="</s>", unk_token="<unk>")


def folding() -> Any:
    """Control strings are matched after compatibility forms and case have been folded."""
    tokenizer = _byte_level()
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    tokenizer.add_special_tokens([AddedToken("<|im_start|>", normalized=True), AddedToken("<|im_end|>", normalized=True)])
    return _wrapped(tokenizer, eos_token="<|im_end|>")


def role_marks() -> Any:
    """Turn marks that a template builds around the role."""
    tokenizer = _byte_level()
    tokenizer.add_special_tokens(["<|endoftext|>", "<|system|>", "<|user|>", "<|assistant|>", "<|end|>"])
    return _wrapped(tokenizer, eos_token="<|endoftext|>")


def words_only() -> Any:
    """Only the end mark is a token; the template's turn marks are ordinary text."""
    tokenizer = _byte_level()
    tokenizer.add_special_tokens(["<s>", "</s>"])
    return _wrapped(tokenizer, bos_token="<s>", eos_token="</s>")


@cache
def smollm2() -> Any:
    """The default model's tokenizer, with its own chat template."""
    return AutoTokenizer.from_pretrained(resolve("smollm2-135m-instruct").path)


@cache
def gemma3() -> Any:
    """The base model's tokenizer; it has no chat template."""
    return AutoTokenizer.from_pretrained(resolve("gemma3-270m-base", accept_licences=frozenset({"gemma"})).path)


CASES: dict[str, tuple[Callable[[], Any], str | None]] = {
    "smollm2": (smollm2, None),
    "smollm2-tools": (smollm2, TOOLS),
    "gemma3": (gemma3, GEMMA),
    "chatml": (chatml, CHATML),
    "chatml-tools": (chatml, TOOLS),
    "chatml-thinking": (chatml, THINKING),
    "llama3": (llama3, LLAMA3),
    "mistral": (mistral, MISTRAL),
    "legacy-llama": (legacy_llama, MISTRAL),
    "role-marks": (role_marks, ROLE_MARKS),
    "words-only": (words_only, WORDS_ONLY),
}
"""name -> (tokenizer, chat template; None = the tokenizer's own)."""


@cache
def encoder(name: str) -> ChatEncoder:
    """The encoder of a case, made once: it checks itself, which takes seconds for a large vocabulary."""
    make, template = CASES[name]
    return ChatEncoder(make(), template)
