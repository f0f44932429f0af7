"""Beliefs of SPM's ``spm_MDP_VB_XXX``: filtered states, paths that are inferred, and a backwards pass over a trial.

After every outcome the states of each factor are filtered one modality after the other, and then the *path* (the control) that
they took since the outcome before: that of a controlled factor is known; that of others is inferred from a prior E and does not
change within a trial. Counts of A and B grow at once by products of these marginals, those of D and E after the trial by the
first moment's; then all of them fade, priors included (`activebmr.agent.spm_learning`). A backwards pass may replace what was
filtered before counts are kept (SPM's ``OPTIONS.B``). Beliefs are products and nothing here is exact where they should not be:
this is for SPM's numbers, `activebmr.inference.exact` for right ones.

Source: Friston et al. (2021), "Sophisticated inference", Neural Computation 33; Friston et al. (2025), "Active inference and
artificial reasoning".
"""

from __future__ import annotations

from activebmr.inference.spm.backwards import Trial, smooth
from activebmr.inference.spm.filtering import AlongMoves, MoveBelief
from activebmr.inference.spm.motion import Motion, check_motion, inferred_factors

__all__ = ["AlongMoves", "Motion", "MoveBelief", "Trial", "check_motion", "inferred_factors", "smooth"]
