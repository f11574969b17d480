"""Builds of a kernel: configuration, compilation, checks of each patch, coverage."""
