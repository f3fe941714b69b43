"""TRL 1.16 takes the same step as we do: same tokens, same weights, same loss and gradient, in float32 on a tiny llama.

Both sides read the same rows with their own code, and each trainer computes its own loss of its own batch. Before they are
compared the tokens are, and which of them count. Where the two define a loss differently, a test says how it is made equal.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
import trl
from datasets import Dataset
from torch import Tensor
from transformers import AutoModelForSequenceClassification

from tests.training import trl_rollouts as online
from tests.training.tiny import PAIRS, tokenizer
from tests.training.trl_rows import Rows, Tokens, conversations, examples, our_tokens, plain
from tests.training.trl_steps import Step, arguments, assert_same, language_model, nudged, our_step, trl_step
from trimtab.training.losses import group_advantages, grpo, k1, k3, leave_one_out, ppo_policy, rso_hinge
from trimtab.training.methods.base import Method, Scored
from trimtab.training.methods.pairs import (
    CplConfig,
    DpoConfig,
    IpoConfig,
    KtoConfig,
    OrpoConfig,
    SimpoConfig,
    SlicConfig,
)
from trimtab.training.methods.rewards import RewardConfig
from trimtab.training.methods.supervised import SftConfig

pytestmark = [
    pytest.mark.filterwarnings("ignore:You are importing from 'trl.experimental'"),
    pytest.mark.filterwarnings("ignore:TRL currently supports vLLM versions"),
]
BETA = 0.3


@pytest.fixture(scope="module")
def policy(llama: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The llama, some steps away from itself: it is the reference."""
    path = tmp_path_factory.mktemp("policy")
    nudged(language_model(llama), seed=1).save_pretrained(path)
    tokenizer().save_pretrained(path)
    return path


@pytest.fixture(scope="module")
def scorer(policy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("scorer")
    torch.manual_seed(0)
    network = AutoModelForSequenceClassification.from_pretrained(policy, num_labels=1, dtype=torch.float32)
    nudged(network.score, seed=2, by=0.3)
    network.save_pretrained(path)
    tokenizer().save_pretrained(path)
    return path


class RsoHinge(DpoConfig):
    """The hinge with a reference, which is a loss of ours but not a method."""

    def losses(self, scored: Scored) -> Tensor:
        return rso_hinge(scored.pair, scored.reference_pair, beta=self.beta)


def dpo_step(policy: Path, reference: Path, rows: Rows, expected: Tokens, folder: Path, **more: Any) -> Step:
    made = trl.DPOTrainer(
        language_model(policy),
        language_model(reference),
        args=trl.DPOConfig(**arguments(folder, len(rows), **more)),
        train_dataset=Dataset.from_list(plain(rows, tokenizer())),
        processing_class=tokenizer(),
    )
    return trl_step(made, expected)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (DpoConfig(beta=BETA), {"loss_type": "sigmoid"}),
        (DpoConfig(beta=BETA, form="robust", label_smoothing=0.2), {"loss_type": "robust", "label_smoothing": 0.2}),
        (DpoConfig(beta=BETA, form="length_normalised"), {"loss_type": "sigmoid_norm"}),
        (DpoConfig(beta=BETA, form="forward_kl"), {"loss_type": "sigmoid", "f_divergence_type": "forward_kl"}),
        (DpoConfig(beta=BETA, form="jensen_shannon"), {"loss_type": "sigmoid", "f_divergence_type": "js_divergence"}),
        (IpoConfig(tau=BETA), {"loss_type": "ipo"}),
        (RsoHinge(beta=BETA), {"loss_type": "hinge"}),
    ],
    ids=["sigmoid", "robust", "sigmoid_norm", "forward_kl", "jensen_shannon", "ipo", "hinge"],
)
def test_dpo(ours: Method, theirs: dict[str, Any], policy: Path, llama: Path, tmp_path: Path) -> None:
    """TRL's ipo takes token means, as ours does by default."""
    rows = conversations()
    given = examples(rows, ours, tokenizer(), tmp_path)
    expected = dpo_step(policy, llama, rows, our_tokens(given, 2), tmp_path, beta=BETA, **theirs)
    assert_same(our_step(policy, ours, given, tmp_path, reference=llama), expected)


def test_dpo_with_a_likelihood_term(policy: Path, llama: Path, tmp_path: Path) -> None:
    """TRL averages the term over the tokens of a batch, we over those of each answer: equal in a batch of one pair."""
    ours, rows = DpoConfig(beta=BETA, sft_weight=0.7), conversations(PAIRS[3:4])
    given = examples(rows, ours, tokenizer(), tmp_path)
    terms = {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.7]}
    expected = dpo_step(policy, llama, rows, our_tokens(given, 2), tmp_path, beta=BETA, **terms)
    assert_same(our_step(policy, ours, given, tmp_path, reference=llama), expected)


@pytest.mark.parametrize(("margins", "centre"), [(False, 0.0), (True, 0.0), (True, 0.3)], ids=["plain", "margin", "centred"])
def test_reward(margins: bool, centre: float, scorer: Path, llama: Path, tmp_path: Path) -> None:
    """TRL reads a score at the last token that is not its padding, so it may not pad with the end of turn as we do."""
    padding = tokenizer()
    padding.pad_token = "<|pad|>"
    ours, rows = RewardConfig(centre=centre), conversations()
    if margins:
        rows = [{**row, "margin": 0.25 * place} for place, row in enumerate(rows)]
    given = examples(rows, ours, tokenizer(), tmp_path)
    made = trl.RewardTrainer(
        AutoModelForSequenceClassification.from_pretrained(scorer, dtype=torch.float32),
        args=trl.RewardConfig(**arguments(tmp_path, len(rows), center_rewards_coefficient=centre or None)),
        train_dataset=Dataset.from_list(rows),
        processing_class=padding,
    )
    whole = [(ids, ids) for ids, _ in our_tokens(given, 2)]
    assert_same(our_step(scorer, ours, given, tmp_path, reference=llama), trl_step(made, whole))


@pytest.mark.parametrize("micro_batches", [1, 3])
def test_sft(micro_batches: int, policy: Path, llama: Path, tmp_path: Path) -> None:
    """The completion's tokens count, and a step in parts is the step as a whole, though its parts differ in tokens."""
    ours, rows = SftConfig(), conversations()
    given = examples(rows, ours, tokenizer(), tmp_path)
    size = len(rows) // micro_batches
    demos = [{"prompt": row["prompt"], "completion": row["chosen"]} for row in rows]
    made = trl.SFTTrainer(
        language_model(policy),
        args=trl.SFTConfig(**arguments(tmp_path, size, gradient_accumulation_steps=micro_batches)),
        train_dataset=Dataset.from_list(plain(demos, tokenizer())),
        processing_class=tokenizer(),
    )
    expected = trl_step(made, our_tokens(given, 1), micro_batches)
    assert_same(our_step(policy, ours, given, tmp_path, reference=llama, micro_batches=micro_batches), expected)


def cpo_step(policy: Path, rows: Rows, expected: Tokens, folder: Path, **more: Any) -> Step:
    from trl.experimental.cpo import CPOConfig, CPOTrainer

    made = CPOTrainer(
        language_model(policy),
        args=CPOConfig(**arguments(folder, len(rows), remove_unused_columns=False, **more)),
        train_dataset=Dataset.from_list(plain(rows, tokenizer())),
        processing_class=tokenizer(),
    )
    return trl_step(made, expected)


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (SimpoConfig(beta=2.0, gamma=0.5), {"loss_type": "simpo", "beta": 2.0, "simpo_gamma": 0.5}),
        (CplConfig(alpha=0.1, bias=1.0), {"loss_type": "sigmoid", "beta": 0.1}),
    ],
    ids=["simpo", "cpl"],
)
def test_cpo(ours: Method, theirs: dict[str, Any], policy: Path, llama: Path, tmp_path: Path) -> None:
    """Its likelihood term is off. Contrastive preference learning without a bias or a reference is its sigmoid."""
    rows = conversations()
    given = examples(rows, ours, tokenizer(), tmp_path)
    expected = cpo_step(policy, rows, our_tokens(given, 2), tmp_path, cpo_alpha=0.0, **theirs)
    assert_same(our_step(policy, ours, given, tmp_path, reference=llama), expected)


def test_slic_is_cpo_with_a_hinge(policy: Path, llama: Path, tmp_path: Path) -> None:
    """The hinge max(0, 1 - beta gap) with beta = 1/delta is ours over delta.

    CPO's likelihood term is a mean over the batch's N chosen tokens, ours a sum over tokens and a mean over G pairs, so theirs
    weighs regularisation / delta x N / G. Without a gold answer, what SLiC keeps likely is the chosen one.
    """
    ours, rows = SlicConfig(delta=40.0, regularisation=0.5), conversations()
    given = examples(rows, ours, tokenizer(), tmp_path)
    chosen = sum(len(example.branches[0].ids) for example in given)
    alpha = ours.regularisation / ours.delta * chosen / len(given)
    expected = cpo_step(policy, rows, our_tokens(given, 2), tmp_path, loss_type="hinge", beta=1 / ours.delta, cpo_alpha=alpha)
    mine = our_step(policy, ours, given, tmp_path, reference=llama)
    assert_same(_times(mine, 1 / ours.delta), expected)


def _times(taken: Step, factor: float) -> Step:
    return Step(taken.loss * factor, {name: part * factor for name, part in taken.gradient.items()})


@pytest.mark.parametrize("pair", PAIRS[1:4])
def test_orpo(pair: tuple[str, str, str], policy: Path, llama: Path, tmp_path: Path) -> None:
    """TRL averages the likelihood over all tokens of a batch, the prompt's too; the paper and we over those of each answer.

    In a batch of one pair whose plain-text prompt is a single token, which nothing predicts, both are the same.
    """
    from trl.experimental.orpo import ORPOConfig, ORPOTrainer

    ours = OrpoConfig(lam=0.4)
    rows = [{"prompt": "Q", "chosen": pair[1], "rejected": pair[2]}]
    given = examples(rows, ours, tokenizer(), tmp_path)
    made = ORPOTrainer(
        language_model(policy),
        args=ORPOConfig(**arguments(tmp_path, 1, beta=ours.lam, remove_unused_columns=False)),
        train_dataset=Dataset.from_list(rows),
        processing_class=tokenizer(),
    )
    expected = trl_step(made, our_tokens(given, 2))
    assert_same(our_step(policy, ours, given, tmp_path, reference=llama), expected)


@pytest.mark.parametrize("drift", ["above 0", "below 0"])
def test_kto(drift: str, policy: Path, llama: Path, tmp_path: Path) -> None:
    """Both estimate the drift by the mean over a batch of mismatched answers, not below 0.

    TRL mismatches a prompt with the answer of the row before it in its batch, we with that of the next row in the data, so TRL
    is given the rows backwards, all in one batch.
    """
    ours = KtoConfig(beta=BETA, desirable_weight=1.5, undesirable_weight=0.5)
    rows = [
        {"prompt": row["prompt"], "completion": row["chosen"], "label": place % 3 != 0}
        for place, row in enumerate(conversations())
    ]
    given = examples(rows, ours, tokenizer(), tmp_path)
    start, frozen = (policy, llama) if drift == "above 0" else (llama, policy)
    made = trl.KTOTrainer(
        language_model(start),
        language_model(frozen),
        args=trl.KTOConfig(**arguments(tmp_path, len(rows), beta=BETA, desirable_weight=1.5, undesirable_weight=0.5)),
        train_dataset=Dataset.from_list(plain(rows, tokenizer())[::-1]),
        processing_class=tokenizer(),
    )
    expected = trl_step(made, our_tokens(given, 1)[::-1])
    assert_same(our_step(start, ours, given, tmp_path, reference=frozen), expected)


def online_arguments(folder: Path, **more: Any) -> dict[str, Any]:
    samples = {"num_generations": online.SAMPLES, "max_completion_length": online.LONGEST, "temperature": online.TEMPERATURE}
    return arguments(folder, online.SAMPLES, num_iterations=2, beta=BETA, **samples, **more)


def test_rloo(llama: Path, tmp_path: Path) -> None:
    """TRL clips the ratio of whole samples, so our clipped loss is given their sums.

    The KL to the reference (k1) is a part of the reward, measured with the policy that sampled.
    """
    made = trl.RLOOTrainer(
        online.starting_policy(llama),
        reward_funcs=online.reward,
        args=trl.RLOOConfig(**online_arguments(tmp_path)),
        train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in online.PROMPTS]),
        processing_class=tokenizer(),
    )
    rollout = online.rolled_out(made, llama)
    drift = rollout.sums(k1(rollout.old - rollout.reference)).view_as(rollout.rewards)
    advantages = leave_one_out(rollout.rewards - BETA * drift).flatten()
    torch.testing.assert_close(advantages, rollout.inputs["advantages"], rtol=1e-4, atol=1e-4)
    losses = ppo_policy(rollout.sums(rollout.logprobs), rollout.sums(rollout.old), advantages)
    assert_same(rollout.our_step(losses.mean()), online.trl_step(made, rollout))


def test_grpo(llama: Path, tmp_path: Path) -> None:
    """TRL's form "dapo", its default, averages over all tokens of a step, as we do; the KL (k3) is a part of the loss.

    By default TRL multiplies a token's KL by its ratio, to make up for who sampled it. The paper and we do not.
    """
    made = trl.GRPOTrainer(
        online.starting_policy(llama),
        reward_funcs=online.reward,
        args=trl.GRPOConfig(**online_arguments(tmp_path), use_bias_correction_kl=False),
        train_dataset=Dataset.from_list([{"prompt": prompt} for prompt in online.PROMPTS]),
        processing_class=tokenizer(),
    )
    rollout = online.rolled_out(made, llama)
    advantages = group_advantages(rollout.rewards).flatten()
    torch.testing.assert_close(advantages, rollout.inputs["advantages"], rtol=1e-4, atol=1e-4)
    of_tokens = advantages[rollout.batch.response]
    losses = grpo(rollout.logprobs[:, None], rollout.old[:, None], of_tokens)[:, 0]
    losses = losses + BETA * k3(rollout.logprobs - rollout.reference)
    assert_same(rollout.our_step(losses.mean()), online.trl_step(made, rollout))
