"""Parsers for programs' output: KTAP, and the formats of the kernel's selftests."""
