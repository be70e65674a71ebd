"""Hydra plugin: a sweeper that leaves the search to a W&B sweep, whose agents train the trials."""
