"""The pytest side: cells as parameters, guests as a fixture, programs as items."""
