"""The pytest plugin: cells as parameters, guests as a fixture, programs as items."""
