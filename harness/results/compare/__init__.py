"""Comparing runs: samples kept of each, intervals, verdicts."""
