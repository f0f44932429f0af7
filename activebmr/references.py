"""Reference points of a paradigm: `activebmr.simulation.references` and `.optimal_moves` under their public name."""

from activebmr.simulation.optimal_moves import fewest_moves, optimal_moves
from activebmr.simulation.references import ObserverResult, clairvoyant, evidence_bound, ideal_observer, lower_bound

__all__ = ["ObserverResult", "clairvoyant", "evidence_bound", "fewest_moves", "ideal_observer", "lower_bound", "optimal_moves"]
