"""Architectures, each a LightningModule in a file of its own."""

from genreclf.models.base import GenreClassifier
from genreclf.models.cnn import CNN
from genreclf.models.crnn import CRNN
from genreclf.models.ffnn import FFNN

__all__ = ["CNN", "CRNN", "FFNN", "GenreClassifier"]
