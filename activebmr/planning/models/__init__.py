"""Planning for agents that reason about hypotheses and states together."""
