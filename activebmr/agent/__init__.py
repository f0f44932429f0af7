"""Agents, composed of parts."""
