"""Every method that samples."""

from typing import Any

from trimtab.training.methods.policy_gradient import GrpoConfig, PolicyGradientConfig, PpoConfig, RlooConfig
from trimtab.training.methods.rest import RestConfig
from trimtab.training.methods.sampled import OnlineConfig, Plan, prompts_needed

__all__ = [
    "ONLINE",
    "GrpoConfig",
    "OnlineConfig",
    "OnlineMethod",
    "Plan",
    "PolicyGradientConfig",
    "PpoConfig",
    "RestConfig",
    "RlooConfig",
    "prompts_needed",
]

OnlineMethod = PpoConfig | RlooConfig | GrpoConfig | RestConfig
ONLINE: dict[str, Any] = {"ppo": PpoConfig, "rloo": RlooConfig, "grpo": GrpoConfig, "rest": RestConfig}
"""The config of every method that samples, by its name."""
