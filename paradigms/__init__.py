"""Paradigms: worked experiments for activebmr agents."""
