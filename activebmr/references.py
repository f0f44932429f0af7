"""Reference points of a paradigm: `activebmr.simulation.references` under its public name."""

from activebmr.simulation.references import ObserverResult, clairvoyant, ideal_observer, lower_bound

__all__ = ["ObserverResult", "clairvoyant", "ideal_observer", "lower_bound"]
