"""Songs like this one: the embeddings of a music collection, kept and searched."""

from genreclf.recommend.library import Library, Recommendation
from genreclf.recommend.records import Song

__all__ = ["Library", "Recommendation", "Song"]
