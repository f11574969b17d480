"""Comparison of runs: baselines, intervals, verdicts."""
