"""Variational message passing along paths: the belief scheme of active inference of 2016 and 2017 (SPM's ``spm_MDP_VB_X``).

For every policy the agent keeps beliefs about each moment of the trial, past and to come. After every outcome they climb the
gradient of variational free energy for a number of sweeps, factor by factor and moment by moment. Policies are judged by the
free energy of their paths (how well they explain what was seen) and by expected free energy (what they will bring), see
`activebmr.planning.paths`. The iterations double as simulated neuronal activity (`activebmr.simulation.neurons`). Counts of
A, B, D and E are learned from the beliefs held at the end of the trial, B by products of what each policy makes of neighbouring
moments, and hold from then on. Sources: Friston et al. (2017), "Active inference: a process theory",
Neural Computation 29; Friston et al. (2017), "Active inference, curiosity and insight", Neural Computation 29; Parr et al.
(2019), "Neuronal message passing using mean-field, Bethe, and marginal approximations", Scientific Reports 9.
"""

from __future__ import annotations

from activebmr.inference.paths.beliefs import PathBeliefs
from activebmr.inference.paths.settings import ITERATIONS, TIME_CONSTANT, PathSettings
from activebmr.inference.paths.state import Ascent, PathCounts, Paths, PolicyBelief

__all__ = [
    "ITERATIONS",
    "TIME_CONSTANT",
    "Ascent",
    "PathBeliefs",
    "PathCounts",
    "PathSettings",
    "Paths",
    "PolicyBelief",
]
