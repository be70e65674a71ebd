"""A run from its configuration to its report: setup, fit, evaluate, in the one place that knows their order."""
