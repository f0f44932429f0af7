"""Networks of the experiments: for the removal of structures, and for that of single weights."""
