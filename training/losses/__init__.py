"""Losses: tensors in, one value an item out. Nothing here reduces over items, logs, or knows a model or a config."""

from trimtab.training.losses.bradley_terry import bradley_terry, centring, k_way
from trimtab.training.losses.choice import choice
from trimtab.training.losses.cpl import cpl, cpl_with_reference
from trimtab.training.losses.dpo import conservative_dpo, dpo, implicit_reward, length_normalised_dpo, robust_dpo, soft_dpo
from trimtab.training.losses.f_divergence import (
    f_dpg,
    f_dpg_forward_kl,
    f_dpg_jensen_shannon,
    f_dpg_reverse_kl,
    f_dpg_total_variation,
    forward_kl,
    jensen_shannon,
    reverse_kl,
    total_variation,
)
from trimtab.training.losses.f_dpo import f_dpo_forward_kl, f_dpo_jensen_shannon
from trimtab.training.losses.gae import advantages, whiten
from trimtab.training.losses.grpo import group_advantages, group_advantages_unscaled, grpo
from trimtab.training.losses.ipo import ipo_mean, ipo_sum
from trimtab.training.losses.kl import k1, k2, k3
from trimtab.training.losses.kto import kto, kto_kl
from trimtab.training.losses.orpo import odds_ratio, orpo
from trimtab.training.losses.plackett_luce import pl_dpo, plackett_luce
from trimtab.training.losses.ppo import ppo_policy, ppo_value
from trimtab.training.losses.pro import pro, pro_rank
from trimtab.training.losses.reward_weighted import reward_weighted
from trimtab.training.losses.rloo import leave_one_out
from trimtab.training.losses.rrhf import rrhf, rrhf_rank
from trimtab.training.losses.safe_align import capped_ascent, safe_align
from trimtab.training.losses.sft import sequence_nll, token_nll
from trimtab.training.losses.simpo import simpo
from trimtab.training.losses.slic import rso_hinge, slic
from trimtab.training.losses.stable_alignment import stable_alignment, stable_alignment_max, stable_alignment_on_mean
from trimtab.training.losses.types import PairLengths, PairLogps
from trimtab.training.losses.utility import pair_agreement, utility_gap
from trimtab.training.losses.value import value_hinge, value_mae, value_mse

__all__ = [
    "PairLengths",
    "PairLogps",
    "advantages",
    "bradley_terry",
    "capped_ascent",
    "centring",
    "choice",
    "conservative_dpo",
    "cpl",
    "cpl_with_reference",
    "dpo",
    "f_dpg",
    "f_dpg_forward_kl",
    "f_dpg_jensen_shannon",
    "f_dpg_reverse_kl",
    "f_dpg_total_variation",
    "f_dpo_forward_kl",
    "f_dpo_jensen_shannon",
    "forward_kl",
    "group_advantages",
    "group_advantages_unscaled",
    "grpo",
    "implicit_reward",
    "ipo_mean",
    "ipo_sum",
    "jensen_shannon",
    "k1",
    "k2",
    "k3",
    "k_way",
    "kto",
    "kto_kl",
    "leave_one_out",
    "length_normalised_dpo",
    "odds_ratio",
    "orpo",
    "pair_agreement",
    "pl_dpo",
    "plackett_luce",
    "ppo_policy",
    "ppo_value",
    "pro",
    "pro_rank",
    "reverse_kl",
    "reward_weighted",
    "robust_dpo",
    "rrhf",
    "rrhf_rank",
    "rso_hinge",
    "safe_align",
    "sequence_nll",
    "simpo",
    "slic",
    "soft_dpo",
    "stable_alignment",
    "stable_alignment_max",
    "stable_alignment_on_mean",
    "token_nll",
    "total_variation",
    "utility_gap",
    "value_hinge",
    "value_mae",
    "value_mse",
    "whiten",
]
