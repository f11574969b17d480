"""Commands that start many runs: bisection, checks of a series, mutants, fuzzing."""
