"""Reports: what a run's folder says, rendered for people."""
