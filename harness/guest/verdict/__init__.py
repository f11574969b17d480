"""What became of a guest: complaints of its kernel, hangs, and how it ended."""
