"""Helpers independent of kernels, guests and runs: processes, files, archives, text."""
