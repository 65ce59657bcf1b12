"""Evaluation: how well an answer is, and what it cost, by method."""
