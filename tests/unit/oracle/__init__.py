"""Importing the fuzzer makes the package ``oracle`` known."""

import harness.campaigns.bare_fuzz  # noqa: F401
