"""Planning of SPM's ``spm_MDP_VB_XXX``: expected free energy with novelty of transitions, and a search over likely states."""
