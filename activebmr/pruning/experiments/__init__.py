"""The experiments of the command ``activebmr prune``: what is run, measured, kept and drawn."""
