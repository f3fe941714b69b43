"""What every strategy's configuration is: frozen parameters that say what they need, cost and build."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict

from trimtab.strategies.core.engine import Params, PortName, Ports

RoleName = Literal["shaper", "decoder", "reviser"]
Streaming = Literal["native", "incremental", "buffered"]


@dataclass(frozen=True, slots=True)
class Cost:
    """The most a step may spend on one request."""

    calls: int = 0
    """Engine calls beyond the plain answer's own."""
    completion_tokens: int = 0
    """Tokens generated in them."""

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.calls + other.calls, self.completion_tokens + other.completion_tokens)


class StrategyConfig(BaseModel):
    """Base of all strategy configurations: a subclass adds `kind: Literal[...]`, parameters and `build()`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kind: str
    """The strategy's name."""

    role: ClassVar[RoleName]
    """Where it plugs in."""
    streaming: ClassVar[Streaming] = "native"
    """native: the engine's own stream; incremental: committed segments; buffered: held until it is final."""
    requires: ClassVar[frozenset[PortName]] = frozenset()
    """Ports of the policy engine without which it cannot run."""
    accepts_text: ClassVar[bool] = False
    """Whether it works on a raw prompt as well as on a conversation."""
    anytime: ClassVar[bool] = False
    """Whether a spent budget ends it with its best so far: what it could cost is then bounded while it runs, not refused."""
    source: ClassVar[str] = ""
    """Authors, year, arXiv id and place of the method."""

    def needs(self) -> frozenset[PortName]:
        """Ports of the policy engine that these parameters need."""
        return self.requires

    def renders_text(self) -> bool:
        """Whether a shaper turns a conversation into a raw prompt: what follows it must accept one."""
        return False

    def may_render_text(self) -> bool:
        """Whether a shaper may do so on some engine: then the engine need not answer conversations."""
        return self.renders_text()

    def locked(self) -> Self:
        """Its form in a locked pipeline: nothing a client can write may make it skip, unless the operator said so."""
        return self

    def engine_roles(self) -> frozenset[str]:
        """Engine roles beside the policy that must be configured."""
        return frozenset()

    def check(self, engines: Mapping[str, Ports], *, param: str = "alignment.strategy") -> None:
        """Raise MissingRole or MissingCapability where these engines cannot run it, beyond what `needs` and roles say."""

    def prove(self, engines: Mapping[str, Ports]) -> None:
        """Try out what `check` cannot see, once, when a server starts; may block. Raises MissingCapability."""

    def corpora(self) -> tuple[str, ...]:
        """Names of the corpora it reads; the field `corpus`, where it has one."""
        named = getattr(self, "corpus", None)
        return (named,) if isinstance(named, str) else ()

    def cost(self, params: Params) -> Cost:
        """Worst case of this step under these sampling parameters."""
        return Cost()

    def build(self) -> Any:
        """The strategy: an object with the one method of its role."""
        raise TypeError(f"{type(self).__name__} does not say how it is built")
