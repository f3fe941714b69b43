"""Loading what is trained: weights, tokenizer, adapters, a scalar head; and which attention fits them."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field
from torch import nn
from transformers.utils import logging as progress

from trimtab.artifacts import resolve
from trimtab.training.attention import NAME
from trimtab.training.data.batch import collate
from trimtab.training.data.examples import Branch, Example
from trimtab.training.errors import ModelError
from trimtab.training.lean import keep_less
from trimtab.training.methods.base import Head
from trimtab.training.networks import Policy, Scorer, bare, hidden_states

logger = logging.getLogger(__name__)
CLOSE = 1e-3
"""Largest relative difference of hidden states that rounding explains, float32."""


class LoraSettings(BaseModel):
    """An adapter in place of full fine-tuning."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    r: int = Field(default=16, ge=1, le=1024)
    """Rank."""
    alpha: int = Field(default=32, ge=1)
    """Scale: the update is multiplied by alpha / r."""
    dropout: float = Field(default=0.0, ge=0, lt=1)
    """Dropout before the adapter; 0 for every method that compares with a reference."""
    targets: tuple[str, ...] = ()
    """Names of the linear layers; default all but the head."""
    base_bits: Literal[4, 16] = 16
    """4: the frozen weights are held in NF4 (QLoRA; needs bitsandbytes and a GPU)."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model ready to be trained."""

    module: Policy | Scorer
    tokenizer: Any
    source: Path
    """The directory it came from."""
    shares_prompts: bool
    """Whether it reads a prompt once for all its answers."""

    @property
    def network(self) -> Any:
        """The Hugging Face model, adapters included."""
        return self.module.network

    @property
    def parameters(self) -> tuple[int, int]:
        """Counts: trainable, all."""
        sizes = [(p.numel(), p.requires_grad) for p in self.module.parameters()]
        return sum(size for size, trains in sizes if trains), sum(size for size, _ in sizes)


def load(
    source: str,
    head: Head,
    *,
    lora: LoraSettings | None = None,
    checkpointing: bool = False,
    chat_template: str | None = None,
    accept_licences: frozenset[str] = frozenset(),
) -> Loaded:
    """The model of a source (catalogue alias, directory, GGUF file, hub id) with float32 weights.

    Raises ModelError where it does not fit the head; ArtifactError where it cannot be had.
    """
    path = resolve(source, accept_licences=accept_licences).path
    tokenizer = _tokenizer(path, chat_template)
    network = _network(path, head, tokenizer, lora)
    if lora is not None:
        network = _with_adapter(network, head, lora)
    _quieten(network)
    keep_less(network)
    if checkpointing:
        bare(network).gradient_checkpointing_enable({"use_reentrant": False})
        bare(network).enable_input_require_grads()
    module = Policy(network) if head == "language" else Scorer(network)
    return Loaded(module, tokenizer, path, bare(network).config._attn_implementation == NAME)


def check_ends(loaded: Loaded, end_ids: frozenset[int]) -> None:
    """Raise ModelError where an engine on the model as it came would not stop where answers are trained to end.

    It matters where the model's own generation config stays: under an adapter, and for samples of the run itself.
    """
    told = getattr(bare(loaded.network), "generation_config", None)
    own = getattr(told, "eos_token_id", None)
    stops = {loaded.tokenizer.eos_token_id, *(own if isinstance(own, list) else [own])}
    if not end_ids <= stops:
        names = ", ".join(loaded.tokenizer.convert_ids_to_tokens(sorted(end_ids - stops)))
        raise ModelError(
            f"answers end with {names}, which {str(loaded.source)!r} does not name as an end (eos_token_id of its "
            "generation_config.json): it would go on; add it there, or train the full weights"
        )


def _tokenizer(path: Path, chat_template: str | None) -> Any:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    if chat_template is not None:
        tokenizer.chat_template = chat_template
    return tokenizer


def _network(path: Path, head: Head, tokenizer: Any, lora: LoraSettings | None) -> Any:
    network = _open(path, head, NAME, lora)
    if not fits(network):
        logger.info("%s reads padded rows: its attention is its own", network.config.model_type)
        network = _open(path, head, "sdpa", lora)
    if head == "scalar":
        network.config.get_text_config().pad_token_id = _padding(tokenizer, network.config)
    return network


def _open(path: Path, head: Head, attention: str, lora: LoraSettings | None) -> Any:
    from transformers import AutoModelForCausalLM, AutoModelForSequenceClassification

    given: dict[str, Any] = {"dtype": torch.float32, "local_files_only": True, "trust_remote_code": False}
    given |= _quantised(lora)
    shown = progress.is_progress_bar_enabled()
    progress.disable_progress_bar()
    try:
        if head == "language":
            return _causal(AutoModelForCausalLM, path, attention, given)
        return AutoModelForSequenceClassification.from_pretrained(path, num_labels=1, attn_implementation=attention, **given)
    except ValueError as error:
        if attention == NAME:
            return _open(path, head, "sdpa", lora)
        raise ModelError(f"{str(path)!r} cannot be loaded for a {head} head: {error}") from error
    finally:
        if shown:
            progress.enable_progress_bar()


def _causal(factory: Any, path: Path, attention: str, given: Mapping[str, Any]) -> Any:
    from transformers import AutoConfig

    config = AutoConfig.from_pretrained(path, local_files_only=True, trust_remote_code=False)
    architectures = config.architectures or []
    if any(name.endswith("ForSequenceClassification") for name in architectures):
        raise ModelError(
            f"{str(path)!r} is a reward model ({architectures[0]}); this method trains a language model. "
            "Give the policy as the model, and a reward model where a method asks for one."
        )
    return factory.from_pretrained(path, attn_implementation=attention, **given)


def _quantised(lora: LoraSettings | None) -> dict[str, Any]:
    if lora is None or lora.base_bits == 16:
        return {}
    from transformers import BitsAndBytesConfig

    if not torch.cuda.is_available():
        raise ModelError("lora.base_bits 4 needs a GPU and bitsandbytes; 16 works everywhere")
    settings = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_quant_type="nf4", bnb_4bit_compute_dtype=torch.bfloat16)
    return {"quantization_config": settings}


def _with_adapter(network: Any, head: Head, lora: LoraSettings) -> Any:
    try:
        from peft import LoraConfig, TaskType, get_peft_model
    except ImportError as error:
        raise ModelError("LoRA needs the package peft: pip install 'trimtab[train]'") from error
    own = network.get_output_embeddings()
    if any(module is own and name.rpartition(".")[2] in lora.targets for name, module in network.named_modules()):
        raise ModelError("lora.targets names the model's head, which is read without adapters; leave it out")
    task = TaskType.CAUSAL_LM if head == "language" else TaskType.SEQ_CLS
    config = LoraConfig(
        task_type=task,
        r=lora.r,
        lora_alpha=lora.alpha,
        lora_dropout=lora.dropout,
        target_modules=list(lora.targets) or "all-linear",
    )
    return get_peft_model(network, config)


def _quieten(network: Any) -> None:
    """No dropout but the adapter's: a comparison of two passes may not be noise."""
    for name, module in network.named_modules():
        if "lora_dropout" in name:
            continue
        if isinstance(module, nn.Dropout):
            module.p = 0.0
        for attribute, value in list(vars(module).items()):
            if "dropout" in attribute and isinstance(value, float):
                setattr(module, attribute, 0.0)
    bare(network).config.use_cache = False


def fits(network: Any) -> bool:
    """Whether a network loaded with the attention of trees computes what plain rows compute.

    By trial: two branches behind a prompt, handed over as embeddings, against the same two texts one by one as ids.
    """
    config = network.config.get_text_config()
    kinds = set(getattr(config, "layer_types", None) or ())
    if network.config._attn_implementation != NAME or not kinds <= {"full_attention", "sliding_attention"}:
        return False
    if getattr(config, "attn_logit_softcapping", None):
        return False
    return _reads_the_same(network, min(int(config.vocab_size), 1000))


@torch.no_grad()
def _reads_the_same(network: Any, vocabulary: int) -> bool:
    first, *rest = (tuple((7 * start + 3 * place) % vocabulary for place in range(9)) for start in (1, 2, 3))
    batch = collate([Example(first, tuple(Branch(ids) for ids in rest))]).to(network.device)
    training = network.training
    network.eval()
    try:
        embedded = network.get_input_embeddings()(batch.ids)
        shared = hidden_states(network, batch, embedded)[batch.ends]
        alone = torch.cat([_alone(network, first + ids) for ids in rest])
    except (TypeError, ValueError, RuntimeError):
        return False
    finally:
        network.train(training)
    return bool(torch.allclose(shared, alone, rtol=CLOSE, atol=CLOSE * float(alone.abs().max())))


def _alone(network: Any, ids: tuple[int, ...]) -> torch.Tensor:
    before = network.config._attn_implementation
    network.set_attn_implementation("eager")
    try:
        row = torch.tensor([ids], device=network.device)
        last: torch.Tensor = network.base_model(input_ids=row, use_cache=False).last_hidden_state[:, -1]
    finally:
        network.set_attn_implementation(before)
    return last


def _padding(tokenizer: Any, config: Any) -> int | None:
    """A padding id that no conversation ends with: Hugging Face's scoring models look for the last token that is none."""
    ends = {tokenizer.eos_token_id, getattr(config, "eos_token_id", None)}
    template = tokenizer.chat_template or ""
    own = [tokenizer.pad_token, tokenizer.unk_token, *tokenizer.all_special_tokens]
    usable = (token for token in own if token and token not in template and tokenizer.convert_tokens_to_ids(token) not in ends)
    found = next(usable, None)
    return None if found is None else int(tokenizer.convert_tokens_to_ids(found))
