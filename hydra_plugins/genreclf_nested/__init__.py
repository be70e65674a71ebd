"""Hydra plugin: a sweeper for nested cross-validation, which chooses settings inside each outer fold."""
