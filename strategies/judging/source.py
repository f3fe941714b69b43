"""What every value's configuration is: where judgements come from, what they need and what they cost."""

from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from trimtab.strategies.core.config import Cost
from trimtab.strategies.core.engine import PortName, Ports
from trimtab.strategies.core.errors import MissingCapability, MissingRole
from trimtab.strategies.judging.value import ValueFunction


class ValueSource(BaseModel):
    """Base of all value configurations: a subclass adds `kind: Literal[...]`, parameters and `build()`."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    kind: str
    """The value's name."""

    def needs(self) -> frozenset[PortName]:
        """Ports of the policy engine that these parameters need, whatever other engines there are."""
        return frozenset()

    def engine_roles(self) -> frozenset[str]:
        """Engine roles beside the policy that must be configured."""
        return frozenset()

    def check(self, engines: Mapping[str, Ports], *, by: str, param: str = "alignment.strategy") -> None:
        """Raise MissingRole or MissingCapability where these engines cannot judge. `by` names the strategy that asks."""

    def prove(self, engines: Mapping[str, Ports]) -> None:
        """Try out what `check` cannot see; may block. Raises MissingCapability."""

    def cost(self, answers: int = 1) -> Cost:
        """Worst case of judging this many answers."""
        return Cost()

    def build(self) -> ValueFunction:
        """A value function for one request: it remembers what it has judged."""
        raise TypeError(f"{type(self).__name__} does not say how it is built")


def check_role(engines: Mapping[str, Ports], role: str, port: PortName, *, by: str, value: str, param: str) -> None:
    """Raise MissingRole or MissingCapability where the engine of a role is absent or lacks the port."""
    ports = engines.get(role)
    if ports is None:
        raise MissingRole(
            f"{by} with the value {value!r} needs an engine for the role {role!r}, and none is configured", param=param
        )
    if port not in ports.names():
        has = ", ".join(sorted(ports.names()))
        raise MissingCapability(
            f"{by} with the value {value!r} needs the {port} port of the role {role!r}; its engine has {has}", param=param
        )
