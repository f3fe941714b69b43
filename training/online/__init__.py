"""Training on what the policy itself says: rollouts, rewards and the methods that learn from them."""
