"""Generative models and hypotheses about them."""
