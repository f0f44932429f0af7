"""Worlds, paradigms, simulations and their results."""
