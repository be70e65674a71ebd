"""Synthetic music in ten genres, computed on demand, for first runs and tests."""

from genreclf.datasets.synthetic.dataset import Synthetic

__all__ = ["Synthetic"]
