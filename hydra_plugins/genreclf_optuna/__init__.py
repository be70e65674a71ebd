"""Hydra plugin: a sweeper that searches with Optuna and continues where it was interrupted."""
