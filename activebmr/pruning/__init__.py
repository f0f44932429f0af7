"""Pruning of PyTorch networks by Bayesian model reduction (needs the extra ``pruning``)."""
