"""Which tracks train, validate and test."""
