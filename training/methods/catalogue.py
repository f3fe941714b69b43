"""Every method by its name, with the learning rates and passes it starts from."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from trimtab.training.errors import ConfigInvalid
from trimtab.training.methods.base import Method, MethodConfig
from trimtab.training.methods.lists import PlConfig, ProConfig, RrhfConfig, StableConfig
from trimtab.training.methods.online import ONLINE, OnlineMethod
from trimtab.training.methods.pairs import CplConfig, DpoConfig, IpoConfig, KtoConfig, OrpoConfig, SimpoConfig, SlicConfig
from trimtab.training.methods.rewards import ChoiceConfig, RewardConfig, ValueConfig
from trimtab.training.methods.supervised import (
    AlignerConfig,
    CohConfig,
    RewardWeightedConfig,
    SafeAlignConfig,
    SecondThoughtsConfig,
    SftConfig,
)

OfflineConfig = Annotated[
    SftConfig
    | RewardConfig
    | ValueConfig
    | DpoConfig
    | IpoConfig
    | KtoConfig
    | OrpoConfig
    | SimpoConfig
    | SlicConfig
    | RrhfConfig
    | ProConfig
    | PlConfig
    | CplConfig
    | CohConfig
    | SecondThoughtsConfig
    | StableConfig
    | SafeAlignConfig
    | AlignerConfig
    | RewardWeightedConfig
    | ChoiceConfig,
    Field(discriminator="kind"),
]


@dataclass(frozen=True, slots=True)
class Preset:
    """Where a method starts from."""

    lr: float
    """Learning rate of full fine-tuning; an adapter takes ten times as much."""
    epochs: float = 1.0


PRESETS: Mapping[str, Preset] = {
    "sft": Preset(2e-5, 3.0),
    "reward": Preset(1e-5),
    "value": Preset(1e-5),
    "dpo": Preset(1e-6),
    "ipo": Preset(1e-6),
    "kto": Preset(1e-6),
    "orpo": Preset(8e-6),
    "simpo": Preset(1e-6),
    "slic": Preset(1e-5),
    "rrhf": Preset(2e-5),
    "pro": Preset(5e-6),
    "pl": Preset(1e-6),
    "cpl": Preset(1e-6),
    "coh": Preset(2e-5),
    "second_thoughts": Preset(2e-5),
    "stable": Preset(2e-5),
    "safe_align": Preset(1e-5),
    "aligner": Preset(2e-5, 3.0),
    "reward_weighted": Preset(1e-5),
    "choice": Preset(1e-5),
    "ppo": Preset(1e-6),
    "rloo": Preset(1e-6),
    "grpo": Preset(1e-6),
    "rest": Preset(1e-5),
}
LORA_FACTOR = 10.0
"""How much more an adapter learns a step; a suggestion, not from a paper."""

_ADAPTER: TypeAdapter[Method] = TypeAdapter(Annotated[OfflineConfig | OnlineMethod, Field(discriminator="kind")])


def configs() -> Mapping[str, type[MethodConfig]]:
    """The config of every offline method by its name."""
    found = (*(_union(OfflineConfig)),)
    return {config.model_fields["kind"].default: config for config in found}


def every_config() -> Mapping[str, type[MethodConfig]]:
    """The config of every method by its name, those that sample the last."""
    return {**configs(), **ONLINE}


def _union(annotated: Any) -> tuple[type[MethodConfig], ...]:
    members: tuple[type[MethodConfig], ...] = annotated.__origin__.__args__
    return members


def method(kind: str, parameters: Mapping[str, Any] | None = None) -> Method:
    """The method of a name with its parameters. Raises ConfigInvalid, which names what is allowed."""
    if kind not in every_config():
        near = difflib.get_close_matches(kind, PRESETS, 1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise ConfigInvalid(f"unknown method {kind!r}{hint} Methods: {', '.join(PRESETS)}.")
    try:
        return _ADAPTER.validate_python({"kind": kind, **(parameters or {})})
    except ValidationError as error:
        raise ConfigInvalid(_told(kind, error)) from None


def _told(kind: str, error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False)[0]
    place = ".".join(str(part) for part in first["loc"][1:]) or "parameters"
    known = ", ".join(name for name in every_config()[kind].model_fields if name != "kind")
    return f"{kind}: {place}: {first['msg']} (given {first.get('input')!r}). Parameters of {kind}: {known or 'none'}."
