"""Exact beliefs where transitions and initial states are learned or in question: models are whole accounts of a world."""
