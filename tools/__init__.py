"""Programs that are run beside the harness, by whoever maintains it or doubts a figure of it."""
