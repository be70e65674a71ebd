"""Check the configuration of a run, and create objects from it."""
