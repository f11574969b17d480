"""Ground that knows nothing of kernels, guests or runs: processes, files, archives, text."""
