"""Songs like this one: the embeddings of a music collection, kept and searched."""

from genreclf.library.library import Library, Recommendation
from genreclf.library.records import Song

__all__ = ["Library", "Recommendation", "Song"]
