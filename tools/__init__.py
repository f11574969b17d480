"""Programs for maintainers of the harness, and for users who want to check its figures."""
