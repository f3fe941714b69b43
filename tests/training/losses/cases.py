"""One case or more for every public loss: the call, its float inputs, and the value of each item worked out by hand.

The base pair, if nothing else is said: l_w = -5, l_l = -7 (policy), r_w = -6, r_l = -6.5 (reference), n_w = 4, n_l = 5
tokens. So rho_w = 1, rho_l = -0.5, gap D = 1.5; token means m_w = -1.25, m_l = -1.4, their log-ratios 1/4 and -0.1, gap 0.35.
The base list: means -1, -0.5, -2 with scores 3, 2, 1.
S(x) stands for log(1 + e^-x) = -log sigmoid(x).
"""

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

from trimtab.training import losses
from trimtab.training.losses import PairLengths, PairLogps


class Case(NamedTuple):
    name: str
    """Public name in `trimtab.training.losses`."""
    call: Callable[..., Tensor]
    """The loss as a function of the inputs alone."""
    inputs: tuple[Tensor, ...]
    """Float64 tensors that the loss may differentiate."""
    expected: Tensor
    digits: float = 1e-6
    """Absolute tolerance: the number of digits carried by hand."""
    constant: bool = False
    """The result carries no gradient by design."""

    @property
    def id(self) -> str:
        return f"{self.name}-{self.expected.flatten()[0].item():.6g}"


def t(*values: float) -> Tensor:
    return torch.tensor(values, dtype=torch.float64)


LENGTHS = PairLengths(torch.tensor([4]), torch.tensor([5]))
POLICY = (t(-5), t(-7))
BOTH = (*POLICY, t(-6), t(-6.5))
REWARDS = (t(1.2), t(0.3))
MEANS, SCORES, ONE_LIST = t(-1, -0.5, -2), torch.tensor([3, 2, 1]), torch.tensor([0, 0, 0])
TWO = torch.tensor([0, 0])
RATINGS, NLL = torch.tensor([7, 4, 2]), t(1, 1.5, 0.8)
TOP = torch.tensor([True, False, False])
MASK = torch.tensor([[True, True, True, False]])


def pairs(lw: Tensor, ll: Tensor, rw: Tensor, rl: Tensor) -> tuple[PairLogps, PairLogps]:
    return PairLogps(lw, ll), PairLogps(rw, rl)


DPO = (
    # S(0.1 * 1.5 = 0.15) = log(1 + 0.860708) = 0.620957
    Case("dpo", lambda *x: losses.dpo(*pairs(*x)), BOTH, t(0.620957)),
    # S(-0.15) = S(0.15) + 0.15 = 0.770957; 0.9 * 0.620957 + 0.1 * 0.770957 = 0.635957
    Case("conservative_dpo", lambda *x: losses.conservative_dpo(*pairs(*x), label_smoothing=0.1), BOTH, t(0.635957)),
    # (0.9 * 0.620957 - 0.1 * 0.770957) / 0.8 = 0.602207
    Case("robust_dpo", lambda *x: losses.robust_dpo(*pairs(*x), label_smoothing=0.1), BOTH, t(0.602207)),
    # S(0.1 * 0.35 = 0.035) = log(1 + 0.965605) = 0.675800
    Case("length_normalised_dpo", lambda *x: losses.length_normalised_dpo(*pairs(*x), LENGTHS), BOTH, t(0.675800)),
    # 0.7 * 0.620957 + 0.3 * 0.770957 = 0.665957
    Case("soft_dpo", lambda *x: losses.soft_dpo(*pairs(*x), 0.7), BOTH, t(0.665957)),
    # 0.1 * (-5 + 6), 0.1 * (-7 + 6.5)
    Case("implicit_reward", lambda p, r: losses.implicit_reward(p, r), (t(-5, -7), t(-6, -6.5)), t(0.1, -0.05)),
    # f'(u) = -e^-rho: e^0.5 = 1.648721, e^-1 = 0.367879, difference 1.280842; S(0.1280842) = 0.631154
    Case("f_dpo_forward_kl", lambda *x: losses.f_dpo_forward_kl(*pairs(*x)), BOTH, t(0.631154)),
    # log sigmoid(1) = -0.313262, log sigmoid(-0.5) = -0.974077, difference 0.660815; S(0.0660815) = 0.660652
    Case("f_dpo_jensen_shannon", lambda *x: losses.f_dpo_jensen_shannon(*pairs(*x)), BOTH, t(0.660652)),
)

PAIRS = (
    # D - 1/(2 * 0.1) = 1.5 - 5 = -3.5
    Case("ipo_sum", lambda *x: losses.ipo_sum(*pairs(*x), tau=0.1), BOTH, t(12.25)),
    # 0.35 - 5 = -4.65
    Case("ipo_mean", lambda *x: losses.ipo_mean(*pairs(*x), LENGTHS, tau=0.1), BOTH, t(21.6225)),
    # 1 - 0.1 * 1.5
    Case("rso_hinge", lambda *x: losses.rso_hinge(*pairs(*x)), BOTH, t(0.85)),
    # max(0, 3 + 5 - 7) + 0.5 * 5 = 1 + 2.5
    Case("slic", lambda c, r, y: losses.slic(PairLogps(c, r), y, delta=3.0), (*POLICY, t(-5)), t(3.5)),
    # max(0, 1 + 5 - 7) + 0.5 * 5 = 0 + 2.5
    Case("slic", lambda c, r, y: losses.slic(PairLogps(c, r), y, delta=1.0), (*POLICY, t(-5)), t(2.5)),
    # S(2 * (-1.25 + 1.4) - 0.5 = -0.2) = log(1 + 1.221403) = 0.798139
    Case("simpo", lambda c, r: losses.simpo(PairLogps(c, r), LENGTHS), POLICY, t(0.798139)),
    # log odds: -1.25 - log(1 - e^-1.25) = -1.25 + 0.337579; -1.4 - log(1 - e^-1.4) = -1.4 + 0.283154;
    # difference 0.204425; S(0.204425) = 0.596149
    Case("odds_ratio", lambda c, r: losses.odds_ratio(PairLogps(c, r)), (t(-1.25), t(-1.4)), t(0.596149)),
    # 1.25 + 0.1 * 0.596149
    Case("orpo", lambda c, r: losses.orpo(PairLogps(c, r), LENGTHS), POLICY, t(1.309615)),
    # S(0.1 * (-5 + 7) = 0.2) = 0.598139
    Case("cpl", lambda c, r: losses.cpl(PairLogps(c, r), bias=1.0), POLICY, t(0.598139)),
    # S(0.1 * (-5 + 3.5) = -0.15) = 0.770957
    Case("cpl", lambda c, r: losses.cpl(PairLogps(c, r), bias=0.5), POLICY, t(0.770957)),
    # flipped: S(0.1 * (-7 + 2.5) = -0.45) = 0.493248 + 0.45; 0.8 * 0.770957 + 0.2 * 0.943248
    Case("cpl", lambda c, r: losses.cpl(PairLogps(c, r), preference=0.8), POLICY, t(0.805415)),
    # S(0.1 * (1 + 0.25) = 0.125) = 0.632599
    Case("cpl_with_reference", lambda *x: losses.cpl_with_reference(*pairs(*x)), BOTH, t(0.632599)),
    # flipped: S(0.1 * (-0.5 - 0.5) = -0.1) = 0.744397; 0.8 * 0.632599 + 0.2 * 0.744397
    Case("cpl_with_reference", lambda *x: losses.cpl_with_reference(*pairs(*x), preference=0.8), BOTH, t(0.654959)),
    # z = 0.5: desirable, 1 - sigmoid(0.1 * (1 - 0.5)) = sigmoid(-0.05) = 0.487503; undesirable with weight 2,
    # 2 * (1 - sigmoid(0.1 * (0.5 + 0.5))) = 2 * sigmoid(-0.1) = 2 * 0.475021 = 0.950042
    Case(
        "kto",
        lambda p, r: losses.kto(p, r, torch.tensor([True, False]), t(0.5)[0], undesirable_weight=2.0),
        (t(-5, -7), t(-6, -6.5)),
        t(0.487503, 0.950042),
    ),
    # (1 - 0.5)/2 and max(0, (-1 - 0.5)/2)
    Case("kto_kl", losses.kto_kl, (t(-5, -7), t(-6, -6.5)), t(0.25)[0], constant=True),
    Case("kto_kl", losses.kto_kl, (t(-7, -7), t(-6, -6.5)), t(0.0)[0], constant=True),
)

REWARD_MODELS = (
    # S(0.9) = log(1 + 0.406570) = 0.341154
    Case("bradley_terry", losses.bradley_terry, REWARDS, t(0.341154)),
    # S(0.9 - 1 = -0.1) = log(1 + 1.105171) = 0.744397
    Case("bradley_terry", lambda c, r: losses.bradley_terry(c, r, margin=1.0), REWARDS, t(0.744397)),
    # D = 0.5: 0.6 * S(0.5) + 0.4 * S(-0.5) = 0.6 * 0.474077 + 0.4 * 0.974077 = 0.674077
    Case("bradley_terry", lambda c, r: losses.bradley_terry(c, r, preference=0.6), (t(0.5), t(0)), t(0.674077)),
    # (1.2 + 0.3)^2 = 2.25, times the coefficient 0.01 is 0.0225
    Case("centring", lambda c, r: 0.01 * losses.centring(c, r), REWARDS, t(0.0225)),
    # pairs of rewards 1.2, 0.3, 0: (S(0.9) + S(1.2) + S(0.3))/3 = (0.341154 + 0.263282 + 0.554355)/3; then a list of ties
    Case(
        "k_way",
        lambda r: losses.k_way(r, torch.tensor([3, 2, 1, 5, 5]), torch.tensor([0, 0, 0, 1, 1]), 2),
        (t(1.2, 0.3, 0, 7, -7),),
        t(0.386264, 0),
    ),
    # (1.2 - 1)^2, |1.2 - 1|, max(0, 1 + 0.3 - 1.2)
    Case("value_mse", losses.value_mse, (t(1.2), t(1)), t(0.04)),
    Case("value_mae", losses.value_mae, (t(1.2), t(1)), t(0.2)),
    Case("value_hinge", lambda c, r: losses.value_hinge(r, c), REWARDS, t(0.1)),
    # |1 - 0.25|, |-1 - 2|, and agreement: yes, no, agent ties, both tie
    Case("utility_gap", losses.utility_gap, (t(1, -1), t(0.25, 2)), t(0.75, 3)),
    Case("pair_agreement", losses.pair_agreement, (t(1, -1, 2, 0), t(0.25, 2, 0, 0)), t(1, 0, 0.5, 1), constant=True),
    # softmax of 28, 27, 26.5: log(1 + e^-1 + e^-1.5) = log(1 + 0.367879 + 0.223130) = 0.464369
    Case("choice", lambda z: losses.choice(z, TOP, ONE_LIST, 1), (t(28, 27, 26.5),), t(0.464369)),
    Case("choice", lambda z: losses.choice(z, TOP, ONE_LIST, 1, logit_scale=100.0), (t(0.28, 0.27, 0.265),), t(0.464369)),
)

LISTS = (
    # only the pair (1, 2) is inverted: -0.5 + 1 = 0.5
    Case("rrhf_rank", lambda m: losses.rrhf_rank(m, SCORES, ONE_LIST, 1), (MEANS,), t(0.5)),
    # 2 * 0.5 + 1
    Case("rrhf", lambda m: losses.rrhf(m, SCORES, ONE_LIST, 1, rank_weight=2.0), (MEANS,), t(2.0)),
    # log(e^-1 + e^-0.5 + e^-2) + 1 = log 1.109745 + 1 = 1.104131; log(e^-0.5 + e^-2) + 0.5 = log 0.741866 + 0.5 = 0.201413
    Case("plackett_luce", lambda m: losses.plackett_luce(m, SCORES, ONE_LIST, 1), (MEANS,), t(1.305544)),
    # beta 0.1 of log-ratios 1, -0.5 is a list of two: the value of dpo
    Case(
        "pl_dpo",
        lambda p, r: losses.pl_dpo(p, r, torch.tensor([2, 1]), TWO, 1),
        (t(-5, -7), t(-6, -6.5)),
        t(0.620957),
    ),
    # first stage, multipliers 2 (own), 1, 2: log(e^-2 + e^-0.5 + e^-4) + 2 = log 0.760182 + 2 = 1.725802; second, 1: 0.201413
    Case("pro_rank", lambda m: losses.pro_rank(m, SCORES, ONE_LIST, 1), (MEANS,), t(1.927215)),
    # K = 2 with score gap 2: S(2 * (-1 + 0.5) = -1) = 1.313262
    Case("pro_rank", lambda m: losses.pro_rank(m, torch.tensor([3, 1]), TWO, 1), (t(-1, -0.5),), t(1.313262)),
    # 0.05 * (3 - 1)^2 * 1 = 0.2 more
    Case("pro", lambda m: losses.pro(m, SCORES, ONE_LIST, 1), (MEANS,), t(2.127215)),
    Case("pro", lambda m: losses.pro(m, SCORES, ONE_LIST, 1, sft_weight=2.0), (MEANS,), t(3.927215)),
    # nll 1, 1.5, 0.8 rated 7, 4, 2 on a scale of 7: violations 1 - 1.5 + 3/7 = -0.071429 and 1 - 0.8 + 5/7 = 0.914286.
    # one hinge each: 1 + 0.2 * (0 + 0.914286)/2
    Case(
        "stable_alignment",
        lambda n: losses.stable_alignment(n, RATINGS, ONE_LIST, 1),
        (NLL,),
        t(1.091429),
    ),
    # 1 + 0.2 * (-0.071429 + 0.914286)/2
    Case(
        "stable_alignment_on_mean",
        lambda n: losses.stable_alignment_on_mean(n, RATINGS, ONE_LIST, 1),
        (NLL,),
        t(1.084286),
    ),
    # 1 + 0.2 * 0.914286
    Case(
        "stable_alignment_max",
        lambda n: losses.stable_alignment_max(n, RATINGS, ONE_LIST, 1),
        (NLL,),
        t(1.182857),
    ),
)

LIKELIHOOD = (
    # weights 1, 0.5 and 0
    Case("token_nll", losses.token_nll, (t(-2, -3, -4), t(1, 0.5, 0)), t(2, 1.5, 0)),
    # 5/4, 7/5
    Case("sequence_nll", lambda x: losses.sequence_nll(x, torch.tensor([4, 5])), (t(-5, -7),), t(1.25, 1.4)),
    # 0.9 * 2 + 0.5 * 4, 0.1 * 3 + 0.5 * 4: on average 1.05 + 2 = 3.05
    Case(
        "reward_weighted",
        lambda n, pre: losses.reward_weighted(n, t(0.9, 0.1).to(n), pretraining_nll=pre, pretraining_weight=0.5),
        (t(2, 3), t(4)),
        t(3.8, 2.3),
    ),
    # 1.5 - 1, and 0 beyond the cap
    Case("capped_ascent", losses.capped_ascent, (t(1, 2),), t(0.5, 0)),
    # safe: nll; harmful: 0.1 * (1.5 - 1), 0
    Case(
        "safe_align",
        lambda n: losses.safe_align(n, torch.tensor([True, False, False])),
        (t(1.2, 1, 2),),
        t(1.2, 0.05, 0),
    ),
)

ONLINE = (
    # d = 0.2: d, d^2/2, e^-0.2 - 1 + 0.2 = 0.818731 - 0.8
    Case("k1", losses.k1, (t(0.2),), t(0.2)),
    Case("k2", losses.k2, (t(0.2),), t(0.02)),
    Case("k3", losses.k3, (t(0.2),), t(0.018731)),
    # errors 0.7 (last), 0.3 - 0.4 = -0.1, 0.4 - 0.5 = -0.1; traces 0.7, -0.1 + 0.95 * 0.7 = 0.565, -0.1 + 0.95 * 0.565
    Case(
        "advantages",
        lambda r, v: losses.advantages(r, v, MASK)[0],
        (t(0, 0, 1, 9)[None], t(0.5, 0.4, 0.3, 9)[None]),
        t(0.43675, 0.565, 0.7, 0)[None],
    ),
    # the same plus the values
    Case(
        "advantages",
        lambda r, v: losses.advantages(r, v, MASK)[1],
        (t(0, 0, 1, 9)[None], t(0.5, 0.4, 0.3, 9)[None]),
        t(0.93675, 0.965, 1.0, 0)[None],
    ),
    # mean 0.567250; deviations -0.1305, -0.00225, 0.13275, their squares 0.034658, over 2: standard deviation 0.131639
    Case(
        "whiten",
        lambda a: losses.whiten(a, MASK),
        (t(0.43675, 0.565, 0.7, 9)[None],),
        t(-0.991344, -0.017092, 1.008436, 0)[None],
    ),
    # (ratio, advantage) = (1.3, 1), (0.7, -1), (1.3, -1), (0.7, 1) with clip 0.2
    Case(
        "ppo_policy",
        lambda lp, old: losses.ppo_policy(lp, old, torch.tensor([1, -1, -1, 1])),
        (t(1.3, 0.7, 1.3, 0.7).log(), t(0, 0, 0, 0)),
        t(-1.2, 0.8, 1.3, -0.7),
    ),
    # the same tokens as two samples with one advantage each
    Case(
        "grpo",
        lambda lp: losses.grpo(lp, torch.zeros_like(lp), torch.tensor([1, -1])),
        (t(1.3, 0.7, 1.3, 0.7).log().reshape(2, 2),),
        t(-1.2, -0.7, 1.3, 0.8).reshape(2, 2),
    ),
    # clipped to 0.7: max(0.1^2, 0.3^2)/2
    Case("ppo_value", losses.ppo_value, (t(0.9), t(0.5), t(1)), t(0.045)),
    # 1 - (2 + 6)/2, 2 - (1 + 6)/2, 6 - (1 + 2)/2
    Case("leave_one_out", losses.leave_one_out, (t(1, 2, 6)[None],), t(-3, -1.5, 4.5)[None]),
    # mean 3
    Case("group_advantages_unscaled", losses.group_advantages_unscaled, (t(1, 2, 6)[None],), t(-2, -1, 3)[None]),
    # variance (4 + 1 + 9)/2 = 7, deviation 2.645751 + 0.0001
    Case("group_advantages", losses.group_advantages, (t(1, 2, 6)[None],), t(-0.755900, -0.377950, 1.133851)[None]),
)

# policy (0.5, 0.5), target (0.75, 0.25); mixture (0.625, 0.375)
TABLE = (t(0.5, 0.5).log(), t(0.75, 0.25).log())
DIVERGENCES = (
    # 0.75 log 1.5 + 0.25 log 0.5 = 0.304099 - 0.173287
    Case("forward_kl", losses.forward_kl, TABLE, t(0.130812)[0]),
    # 0.5 log(2/3) + 0.5 log 2 = -0.202733 + 0.346574
    Case("reverse_kl", losses.reverse_kl, TABLE, t(0.143841)[0]),
    # to the mixture, of the policy: 0.5 log 0.8 + 0.5 log 1.333333 = 0.032269; of the target: 0.75 log 1.2 + 0.25 log 0.666667
    # = 0.035375; half their sum
    Case("jensen_shannon", losses.jensen_shannon, TABLE, t(0.033822)[0]),
    # (0.25 + 0.25)/2
    Case("total_variation", losses.total_variation, TABLE, t(0.25)[0]),
    # pi/p = 2/3 and 2: p/pi = 1.5, 0.5
    Case("f_dpg_forward_kl", losses.f_dpg_forward_kl, TABLE, t(1.5, 0.5), constant=True),
    # log 1.5 - 1, log 0.5 - 1
    Case("f_dpg_reverse_kl", losses.f_dpg_reverse_kl, TABLE, t(-0.594535, -1.693147), constant=True),
    # 2u/(u + 1) = 0.8, 4/3: -log(0.8)/2, -log(4/3)/2
    Case("f_dpg_jensen_shannon", losses.f_dpg_jensen_shannon, TABLE, t(0.111572, -0.143841), constant=True),
    Case("f_dpg_total_variation", losses.f_dpg_total_variation, TABLE, t(0.5, -0.5), constant=True),
    # -(1.5 - 1) * log 0.5, -(0.5 - 1) * log 0.5
    Case("f_dpg", lambda x, reward: losses.f_dpg(x, reward, baseline=1.0), (TABLE[0], t(1.5, 0.5)), t(0.346574, -0.346574)),
)

CASES = (*DPO, *PAIRS, *REWARD_MODELS, *LISTS, *LIKELIHOOD, *ONLINE, *DIVERGENCES)
