"""Recorded behaviour."""
