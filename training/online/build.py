"""An online run put together from its settings, its data and what samples and scores for it."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from trimtab.training.attention import NAME
from trimtab.training.data.example_sets import examples
from trimtab.training.data.examples import Example
from trimtab.training.data.readers import RowSet
from trimtab.training.data.rows import Row
from trimtab.training.data.templates import RowTokenizer
from trimtab.training.data.views import Demo
from trimtab.training.errors import ConfigInvalid, DataError
from trimtab.training.feed import Feed
from trimtab.training.methods.online import OnlineMethod, PolicyGradientConfig, PpoConfig, RestConfig
from trimtab.training.models import Loaded
from trimtab.training.networks import Policy, Scorer, bare
from trimtab.training.online.actor import Actor, AdapterValues, reference_of
from trimtab.training.online.critic import value_copy
from trimtab.training.online.held_out import HeldOut
from trimtab.training.online.parts import Conversation, OnlineParts, Prompt
from trimtab.training.online.policy_gradient import PolicyGradientFeed, Sizes
from trimtab.training.online.pushing import FOLDER, Pusher
from trimtab.training.online.reading import Reader
from trimtab.training.online.rest import RestFeed
from trimtab.training.online.sampling import Sampler, text_of
from trimtab.training.online.watching import Tell
from trimtab.training.settings import TrainSettings

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class OnlineRun:
    """What the trainer is given in place of a module and of batches known beforehand."""

    module: Policy | Actor
    feed: Feed
    pusher: Pusher

    def close(self) -> None:
        """Leave the network as it is served, and no weights but those pushed last."""
        if isinstance(self.module, Actor) and isinstance(self.module.critic, AdapterValues):
            self.module.critic.remove()
        self.pusher.clear()


@dataclass(frozen=True, slots=True)
class OnlineData:
    """Prompts as examples, with the rows that they come from."""

    order: Sequence[Example]
    rows: RowSet
    held_out: Sequence[Example]
    held_out_rows: RowSet | None


def online_run(
    settings: TrainSettings,
    method: OnlineMethod,
    loaded: Loaded,
    tokenizer: RowTokenizer,
    data: OnlineData,
    parts: OnlineParts,
    *,
    folder: Path,
    bfloat16: bool,
    processes: int,
    tell: Tell,
) -> OnlineRun:
    """The run's module and feed. The model is still as it came: the reference is made of it.

    Raises ConfigInvalid for settings that online training cannot honour, ModelError.
    """
    _check(settings, method, processes)
    assert isinstance(loaded.module, Policy)
    order, held_out = _prompts(settings, method, tokenizer, data)
    pusher = Pusher(loaded.network, folder / FOLDER, parts.weights)
    text = text_of(loaded.tokenizer, tokenizer.end_ids)
    sampler = Sampler(parts, pusher, text, method.max_new_tokens, method.temperature, settings.seed)
    sizes = _sizes(settings, method, len(order))
    shares = settings.share_prompts and loaded.shares_prompts
    if isinstance(method, RestConfig):
        rest = RestFeed(method, order, sampler, sizes, held_out=held_out, tell=tell, share_prompts=shares)
        return OnlineRun(loaded.module, rest, pusher)
    reference = reference_of(loaded.module, method.temperature)
    values, entropy = _values(settings, method, loaded, tell), method.entropy_bonus > 0
    actor = Actor(loaded.module, temperature=method.temperature, values=values, entropy=entropy)
    reader = Reader(actor, reference, settings.batch_size, shares and _critic_shares(values), bfloat16)
    feed = PolicyGradientFeed(method, order, sampler, reader, sizes, held_out=held_out, tell=tell)
    return OnlineRun(actor, feed, pusher)


def _critic_shares(values: nn.Module | None) -> bool:
    return not isinstance(values, Scorer) or bare(values.network).config._attn_implementation == NAME


def _check(settings: TrainSettings, method: OnlineMethod, processes: int) -> None:
    if processes > 1 or settings.accelerate_config is not None:
        raise ConfigInvalid(f"{method.kind}: methods that sample train in one process; the engine may be anywhere")
    if settings.early_stopping_patience is not None:
        raise ConfigInvalid(f"early_stopping_patience: {method.kind} has no eval_loss to stop by; kl_cap bounds it")
    if settings.lora is not None and settings.lora.base_bits == 4:
        raise ConfigInvalid(f"lora.base_bits 4: {method.kind} hands the engine whole weights, which needs 16")
    if isinstance(method, PpoConfig) and method.value == "adapter":
        if settings.lora is None:
            raise ConfigInvalid("value adapter: needs a LoRA policy, whose frozen weights it shares; else value copy")
        if settings.checkpointing:
            raise ConfigInvalid("value adapter: does not go with checkpointing, which reads again with another adapter")


def _sizes(settings: TrainSettings, method: OnlineMethod, prompts: int) -> Sizes:
    plan = method.plan(settings.batch_size * settings.grad_accum)
    steps = prompts // plan.prompts * plan.steps
    return Sizes(settings.batch_size, settings.grad_accum, min(steps, settings.max_steps or steps))


def _values(settings: TrainSettings, method: PolicyGradientConfig, loaded: Loaded, tell: Tell) -> nn.Module | None:
    if not isinstance(method, PpoConfig):
        return None
    if method.value == "adapter":
        return AdapterValues(loaded.network)
    return value_copy(settings, method, loaded, tell)


def _prompts(
    settings: TrainSettings, method: OnlineMethod, tokenizer: RowTokenizer, data: OnlineData
) -> tuple[list[Prompt], HeldOut]:
    demonstrations = {}
    if isinstance(method, RestConfig) and method.demonstrations:
        demonstrations = _demonstrations(data.rows, tokenizer, settings.max_length)
    order = _asked(data.order, data.rows, demonstrations)
    held_out = [] if data.held_out_rows is None else _asked(data.held_out, data.held_out_rows, {})
    return order, HeldOut(held_out)


def _asked(prompts: Sequence[Example], rows: RowSet, demonstrations: Mapping[int, Example]) -> list[Prompt]:
    turns = {line: _turns(row) for line, row in rows.by_line().items()}
    return [Prompt(one.prompt, turns[one.line], one.line, demonstrations.get(one.line)) for one in prompts]


def _turns(row: Row) -> Conversation:
    if isinstance(row.prompt, str):
        return (("user", row.prompt),)
    return tuple((turn.role, turn.content) for turn in row.prompt)


def _demonstrations(rows: RowSet, tokenizer: RowTokenizer, max_length: int) -> dict[int, Example]:
    """The answer of each row that has one, by its line."""
    answered = [row for row in rows.rows if row.responses]
    if not answered:
        return {}
    try:
        found = examples(answered, Demo(), tokenizer, max_length)
    except DataError as error:
        logger.warning("no demonstration is learnt along: %s", error)
        return {}
    return {example.line: example for example in found.examples}
