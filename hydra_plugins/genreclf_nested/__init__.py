"""A sweeper of Hydra that chooses settings inside each outer fold."""
