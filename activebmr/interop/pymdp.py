"""Exchange models and agents with pymdp 1.0.4 (the package ``inferactively-pymdp``), and give its agents our gain about models.

Arrays have the same layout in both. What means something else, or is missing, on one side:

=====================  =======================================  ====================================================
what                   pymdp 1.0.4                              activebmr
=====================  =======================================  ====================================================
precision              float32; float64 if jax's x64 is on      float64
beliefs                "fpi": mean field, num_iter rounds       the same is ``Agent(inference="mean-field", rounds=16)``
log of zero            log 2.2e-16 = -36.04                     the same in "mean-field"; exact beliefs hold true zeros
preferences C          used as given                            log softmax(C): utilities differ by a constant
C over time            by steps of a policy, from now           by time of the trial: neither can be expressed in the other
gain of modalities     summed                                   ``Planner(modalities="separate")``; by default together
prior E                of policies, always; log 0 is -36        of controls or policies; ``habit="always"``; log 0 is -inf
q_pi                   softmax(gamma neg_efe + log E)           the same
action, "full"         softmax(alpha log q_pi), or the best     softmax(alpha (neg_efe + log E)): pymdp's alpha is ours / gamma
action, "marginal"     per factor, softmax(alpha log q(u))      the same: ``Planner(sampling="marginal")``
counts pA, pB          of all of a kind or of none              of any; the others are known, there with `KNOWN` counts
A and pA, B and pB     two things until something is learned    A and B are the means of the counts
learning               if learn_A, learn_B                      with counts; ``Learning(rate={"pB": 0})`` freezes them
learning_mode          "online": at every step                  the same by default
.                      "offline": at the end of a rollout       ``Learning(at_end=True)``: at the end of a trial
pairs of states for B  products of beliefs, now and before      the same in "mean-field"; exact beliefs have exact pairs
a count of zero        gets evidence like any other             never changes
novelty of A and B     at every count                           none once each column has one of ``novelty_cutoff`` (256)
learn_C, _D, _E        do nothing                               no counts of C; ``pD`` and ``pE`` are learned here
controls of a factor   of any factors (B_action_dependencies)   its own
transitions            must depend on the factor itself         need not: it is added there, with equal columns
gain about models      none, but see `policy_search`            ``Planner(gains=("state", "param", "model"))``
deeper search          si_policy_search(horizon), for rollout   ``Planner(depth=horizon - 1)``
=====================  =======================================  ====================================================

Where counts that are learned hold zeros, learning makes the two part: pymdp adds to those of A what rounding leaves of a
belief, and a count of 1e-16 promises 36 nats of novelty; to those of B it adds whole shares of moves that cannot be, as it
multiplies what is believed before and after a move. Otherwise the same model and the same outcomes give the same numbers up to
rounding, with the agent that `agent_from_pymdp` makes.
"""

from activebmr.interop._from_pymdp import agent_from_pymdp, from_pymdp, planner_from_pymdp
from activebmr.interop._policy_search import policy_search
from activebmr.interop._pymdp import KNOWN
from activebmr.interop._to_pymdp import to_pymdp

__all__ = ["KNOWN", "agent_from_pymdp", "from_pymdp", "planner_from_pymdp", "policy_search", "to_pymdp"]
