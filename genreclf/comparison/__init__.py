"""Comparison of finished runs: grouping over seeds and folds, paired tests on the same tracks, tables and plots."""
