"""Mutants that are made by rule: where they come from, how they are built and judged."""
