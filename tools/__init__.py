"""Tools that maintainers and users run beside the harness."""
