"""Removal of whole structures (neurons, channels, heads) by multiplicative noise, and networks made smaller by it."""
