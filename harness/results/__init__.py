"""Results: KTAP cases, latencies and splats as records, written as they happen."""
