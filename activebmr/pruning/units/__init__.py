"""Which weights of a network stand and fall together: found by running it and watching every operation."""
