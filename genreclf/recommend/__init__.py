"""Recommend similar songs: index the embeddings of a music collection and search them."""

from genreclf.recommend.library import Library, Recommendation
from genreclf.recommend.records import Song

__all__ = ["Library", "Recommendation", "Song"]
