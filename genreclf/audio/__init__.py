"""Decode and resample audio files, compute log-mel spectrograms, and scale them to the input of a network."""
