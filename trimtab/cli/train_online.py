"""What methods that sample are handed: the engine that serves, in this process or behind a server, and a reward model."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from trimtab.artifacts import resolve
from trimtab.cli.remote_rollouts import RemotePolicy
from trimtab.cli.rollouts import LocalPolicy, LocalRewards
from trimtab.server.settings import TransformersConfig
from trimtab.training.arguments import training_arguments
from trimtab.training.data.examples import Branch, Example
from trimtab.training.errors import ConfigInvalid
from trimtab.training.methods.catalogue import method
from trimtab.training.methods.online import OnlineConfig, OnlineMethod
from trimtab.training.online.parts import OnlineParts
from trimtab.training.preparing import Prepared
from trimtab.training.settings import TrainSettings


@dataclass(frozen=True, slots=True)
class Server:
    """A running server that samples in place of this process."""

    url: str
    model: str
    """What it calls the policy."""


@contextmanager
def online_parts(settings: TrainSettings, server: Server | None) -> Iterator[OnlineParts]:
    """The policy's engine and the judge of its answers, as long as the context lasts.

    Raises ConfigInvalid where nothing scores the answers; ArtifactError, RolloutError where something does not start.
    """
    source = reward_source(settings)
    config = TransformersConfig(dtype="bfloat16" if training_arguments(settings).bf16 else "float32", threads=settings.threads)
    accepted = settings.accept_licences
    with ExitStack() as stack:
        scores = stack.enter_context(LocalRewards(resolve(source, accept_licences=accepted).path, config))
        if server is not None:
            remote = stack.enter_context(RemotePolicy(server.url, server.model))
            yield OnlineParts(remote, scores, remote)
            return
        local = stack.enter_context(LocalPolicy(resolve(settings.model, accept_licences=accepted).path, config))
        yield OnlineParts(local, scores, local)


def reward_source(settings: TrainSettings) -> str:
    """The reward model that the method names. Raises ConfigInvalid where it names none."""
    chosen = method(settings.method, settings.parameters)
    if not isinstance(chosen, OnlineConfig) or chosen.reward is None:
        raise ConfigInvalid(f"{settings.method}: nothing scores the answers; name a reward model, e.g. --set reward=runs/rm")
    return chosen.reward


def rollouts_told(settings: TrainSettings, prepared: Prepared) -> str:
    """How the run samples, in a line."""
    chosen = prepared.method
    assert isinstance(chosen, OnlineMethod)
    plan = chosen.plan(settings.batch_size * settings.grad_accum)
    rollouts = len(prepared.order) // plan.prompts
    return (
        f"{rollouts} rollouts of {plan.prompts} prompts x {chosen.samples} answers of up to {chosen.max_new_tokens} tokens, "
        f"each learned from in {plan.steps} steps: {rollouts * plan.steps} steps"
    )


def answered(prepared: Prepared) -> list[Example]:
    """The prompts with answers as long as they may become."""
    chosen = prepared.method
    assert isinstance(chosen, OnlineMethod)
    branches = (Branch((0,) * chosen.max_new_tokens),) * chosen.samples
    return [Example(example.prompt, branches, line=example.line) for example in prepared.order]
