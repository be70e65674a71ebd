"""Computed music in ten genres, for first runs and tests."""
