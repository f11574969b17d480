"""Damaged and hostile files of strangers, read by the harness: ``python -m tools.foreign``."""
