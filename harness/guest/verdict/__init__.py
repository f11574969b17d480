"""Verdicts on a guest: splats, hangs, and how it ended."""
