"""Comparison of finished runs: grouped over seeds and folds, tested track by track, reported in tables and plots."""
