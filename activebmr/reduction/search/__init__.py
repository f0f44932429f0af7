"""Searches among reduced models."""
