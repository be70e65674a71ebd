"""Hydra plugin: a launcher whose jobs share a process."""
