"""Audio files to log-mel spectrograms: decoding, resampling, the spectrogram and the scaling of a network's input."""
