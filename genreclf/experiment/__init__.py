"""Carry out a run from its configuration to its report: set up, train, evaluate, in this order."""
