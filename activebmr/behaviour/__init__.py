"""Recorded behaviour: recordings, and how well schemes explain them."""
