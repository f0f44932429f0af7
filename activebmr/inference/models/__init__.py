"""Exact reasoning about hypotheses and hidden states together."""
