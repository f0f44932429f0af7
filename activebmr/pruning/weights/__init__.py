"""Removal of single weights: posteriors over them, what reduced priors are worth, and training that prunes as it goes."""
