"""Building a kernel: configuration, compiler, checks of each patch, coverage."""
