"""The union of all values: what a decoder or reviser holds to say by what it judges. Adding one is a line here."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from trimtab.strategies.judging.fixed import FixedConfig
from trimtab.strategies.judging.scored import ClassifierConfig, RewardConfig
from trimtab.strategies.judging.self_evaluation import SelfEvaluationConfig

ValueKind = Literal["self_evaluation", "reward", "classifier", "fixed"]

_AnyValue = Annotated[SelfEvaluationConfig | RewardConfig | ClassifierConfig | FixedConfig, Field(discriminator="kind")]


def _configured(given: Any) -> Any:
    """A bare name stands for that value with its defaults."""
    return {"kind": given} if isinstance(given, str) else given


ValueConfig = Annotated[_AnyValue, BeforeValidator(_configured, json_schema_input_type=ValueKind | _AnyValue)]
"""A value's configuration, given as an object with its `kind` or by its bare name."""
