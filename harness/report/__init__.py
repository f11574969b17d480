"""Reports, rendered from a run's folder."""
