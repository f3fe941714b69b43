"""The module that online methods train: the policy at its sampling temperature and, for PPO, a value model."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import deepcopy
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from trimtab.training.data.batch import Batch
from trimtab.training.logprobs import sums
from trimtab.training.networks import Policy, Readout, bare, hidden_states, read_language, without_adapter
from trimtab.training.online.entropy import entropies

VALUE = "value"
"""Name of the adapter that a value model is."""
Reference = Callable[[Batch], Tensor]
"""The frozen reference's log-probability of each counted token of a batch, (N,)."""


class ValueModel(Protocol):
    """What expects a reward."""

    def values(self, batch: Batch) -> Tensor:
        """(N,) what is still to come where each counted token is about to be written."""
        ...


class Actor(nn.Module):
    """A policy, with its value model where it has one."""

    def __init__(
        self, policy: Policy, *, temperature: float = 1.0, values: nn.Module | None = None, entropy: bool = False
    ) -> None:
        """values: a `ValueModel` to be trained along. entropy: whether the loss needs it."""
        super().__init__()
        self.policy = policy
        self.critic = values
        self.temperature = temperature
        self._entropy = entropy

    @property
    def network(self) -> Any:
        """The policy's."""
        return self.policy.network

    def forward(self, batch: Batch) -> Readout:
        """Log-probabilities at the sampling temperature, and what else the loss needs."""
        return self.read(batch, entropy=self._entropy)

    def read(self, batch: Batch, *, entropy: bool) -> Readout:
        """The same, with entropies or without."""
        base = bare(self.network)
        logprobs, hidden = read_language(base, batch, self.temperature)
        return Readout(
            logprobs=logprobs,
            logps=sums(logprobs * batch.weights, batch.response, batch.responses),
            values=None if self.critic is None else self.critic.values(batch),
            entropy=entropies(base, hidden, self.temperature) if entropy else None,
        )


class AdapterValues(nn.Module):
    """A value model on the policy's own frozen weights: a second adapter, and a head."""

    def __init__(self, network: Any) -> None:
        """network: a policy with one LoRA adapter, whose settings the second one takes. It is changed."""
        super().__init__()
        network.add_adapter(VALUE, deepcopy(network.peft_config["default"]))
        self._network = (network,)  # a tuple, so that its parameters are not listed twice
        self.head = nn.Linear(bare(network).config.get_text_config().hidden_size, 1)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)
        _train_both(network)

    def values(self, batch: Batch) -> Tensor:
        """(N,) scalars where each counted token is about to be written."""
        (network,) = self._network
        with _using(network, VALUE):
            hidden = hidden_states(bare(network), batch).index_select(0, batch.sources)
        found: Tensor = self.head(hidden.to(self.head.weight.dtype))[:, 0]
        return found.float()

    def adapter(self) -> list[tuple[str, nn.Parameter]]:
        """The second adapter's weights, which the network lists."""
        (network,) = self._network
        return [(name, one) for name, one in network.named_parameters() if f".{VALUE}." in name]

    def remove(self) -> None:
        """Take the adapter off the network."""
        (network,) = self._network
        network.delete_adapter(VALUE)


def trained(critic: nn.Module) -> dict[str, nn.Parameter]:
    """The weights of a value model that change, by name; an adapter's too."""
    own = [*critic.named_parameters(), *(critic.adapter() if isinstance(critic, AdapterValues) else ())]
    return {name: parameter for name, parameter in own if parameter.requires_grad}


@contextmanager
def _using(network: Any, adapter: str) -> Iterator[None]:
    network.set_adapter(adapter)
    try:
        yield
    finally:
        network.set_adapter("default")
        _train_both(network)


def _train_both(network: Any) -> None:
    """Both adapters' weights train; choosing one freezes the other."""
    for name, parameter in network.named_parameters():
        if "lora_" in name:
            parameter.requires_grad_(True)


def reference_of(policy: Policy, temperature: float) -> Reference:
    """The policy as it is now, frozen: its base where it has an adapter, else a copy."""
    if hasattr(policy.network, "disable_adapter"):
        return lambda batch: _base_logprobs(policy, batch, temperature)
    frozen = deepcopy(policy).eval().requires_grad_(False)
    return lambda batch: _logprobs(frozen.to(batch.ids.device), batch, temperature)


@torch.no_grad()
def _base_logprobs(policy: Policy, batch: Batch, temperature: float) -> Tensor:
    with without_adapter(policy.network):
        return _logprobs(policy, batch, temperature)


@torch.no_grad()
def _logprobs(policy: Policy, batch: Batch, temperature: float) -> Tensor:
    found = policy(batch, temperature).logprobs
    assert found is not None
    return found
