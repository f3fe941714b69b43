"""A policy of 4 tokens whose answers can all be listed, trained by the real loop."""

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import product
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, TrainingArguments

from tests.training.online.scripted import TorchPolicy, parts
from trimtab.training.attention import NAME
from trimtab.training.methods.online import OnlineMethod, PolicyGradientConfig, PpoConfig, RestConfig, prompts_needed
from trimtab.training.networks import Policy, Scorer
from trimtab.training.online.actor import Actor, reference_of
from trimtab.training.online.held_out import HeldOut
from trimtab.training.online.parts import Prompt
from trimtab.training.online.policy_gradient import PolicyGradientFeed, Sizes
from trimtab.training.online.pushing import Pusher
from trimtab.training.online.reading import Reader
from trimtab.training.online.rest import RestFeed
from trimtab.training.online.sampling import Sampler, text_of
from trimtab.training.trainer import AlignmentTrainer

END = 2
LONGEST = 3
PROMPT = (3,)
SIZES: dict[str, Any] = {
    "vocab_size": 4,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 2,
    "max_position_embeddings": 8,
    "bos_token_id": 3,
    "eos_token_id": END,
}


class Letters:
    """Tokens 0, 1, 2, 3 as a, b, c, d."""

    def decode(self, ids: list[int], **_: Any) -> str:
        return "".join("abcd"[token] for token in ids)

    def save_pretrained(self, folder: Path) -> None:
        (folder / "letters").write_text("abcd")


def outcomes() -> list[tuple[int, ...]]:
    """Every answer: up to and with the first end token, or cut at the longest."""
    found = set()
    for ids in product(range(4), repeat=LONGEST):
        found.add(ids[: ids.index(END) + 1] if END in ids else ids)
    return sorted(found)


def network(seed: int = 0, scale: float = 0.3) -> Any:
    torch.manual_seed(seed)
    return LlamaForCausalLM(LlamaConfig(attn_implementation=NAME, initializer_range=scale, **SIZES))


def critic(seed: int = 1) -> Scorer:
    from transformers import LlamaForSequenceClassification

    torch.manual_seed(seed)
    return Scorer(LlamaForSequenceClassification(LlamaConfig(attn_implementation=NAME, num_labels=1, **SIZES)))


def distribution(model: Any) -> Tensor:
    """Log-probability of each outcome."""
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    found = []
    for ids in outcomes():
        with torch.no_grad():
            logps = model(torch.tensor([PROMPT + ids]), use_cache=False).logits.log_softmax(-1)[0]
        found.append(sum(logps[place, token] for place, token in enumerate(ids)))
    model.set_attn_implementation(before)
    return torch.stack(found)


@dataclass
class Toy:
    """A run, before or after it."""

    trainer: AlignmentTrainer
    engine: TorchPolicy
    feed: Any
    module: Any
    told: list[str] = field(default_factory=list)

    def train(self, **given: Any) -> "Toy":
        self.trainer.train(**given)
        return self


def toy(
    method: OnlineMethod,
    reward: Callable[[str], float],
    folder: Path,
    *,
    steps: int,
    lr: float = 3e-3,
    batch: int = 2,
    **more: Any,
) -> Toy:
    """more: of the training arguments."""
    model = network()
    twin = network(seed=2)  # other weights: it has to be pushed the model's
    twin.set_attn_implementation("eager")
    engine = TorchPolicy(twin, frozenset({END}))
    order = [Prompt(PROMPT, (("user", "?"),), 1)] * prompts_needed(method, steps, 1, batch)
    sampler = Sampler(
        parts(engine, reward),
        Pusher(model, folder / "pushed", engine),
        text_of(Letters(), {END}),
        method.max_new_tokens,
        method.temperature,
        0,
    )
    told: list[str] = []
    sizes = Sizes(batch, 1, steps)
    module: Any = Policy(model)
    if isinstance(method, RestConfig):
        feed: Any = RestFeed(method, order, sampler, sizes, held_out=HeldOut([]), tell=told.append)
    else:
        feed, module = _with_gradient(method, order, sampler, sizes, module, told)
    arguments = TrainingArguments(
        output_dir=str(folder / "checkpoints"),
        per_device_train_batch_size=batch,
        learning_rate=lr,
        lr_scheduler_type="linear",
        num_train_epochs=1,
        use_cpu=True,
        report_to=[],
        logging_steps=1,
        disable_tqdm=True,
        ignore_data_skip=True,
        remove_unused_columns=False,
        **{"save_strategy": "no", **more},
    )
    trainer = AlignmentTrainer(module, method, arguments, [], tokenizer=Letters(), feed=feed)
    return Toy(trainer, engine, feed, module, told)


def _with_gradient(
    method: PolicyGradientConfig, order: list[Prompt], sampler: Sampler, sizes: Sizes, policy: Policy, told: list[str]
) -> tuple[PolicyGradientFeed, Actor]:
    values = critic() if isinstance(method, PpoConfig) else None
    actor = Actor(policy, temperature=method.temperature, values=values, entropy=method.entropy_bonus > 0)
    reader = Reader(actor, reference_of(policy, method.temperature), sizes.batch, True, False)
    return PolicyGradientFeed(method, order, sampler, reader, sizes, held_out=HeldOut([]), tell=told.append), actor
