"""Datasets of audio tracks and spectrogram images."""
