"""A Hydra plugin: a sweeper that hands the search to a sweep of W&B, whose agents train the trials."""
