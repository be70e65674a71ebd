"""Pictures of the data itself, before any training."""
