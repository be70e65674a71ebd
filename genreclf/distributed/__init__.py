"""Ranks: one process a device, all started from the saved configuration of one run."""
