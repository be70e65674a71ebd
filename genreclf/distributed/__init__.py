"""Distributed training: one process (rank) per device, all started from the saved configuration of one run."""
