"""Datasets: where tracks come from."""
