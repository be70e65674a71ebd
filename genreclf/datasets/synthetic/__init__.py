"""Music computed on the spot in ten genres, for first runs and tests."""

from genreclf.datasets.synthetic.dataset import Synthetic

__all__ = ["Synthetic"]
