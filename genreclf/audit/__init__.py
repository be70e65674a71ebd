"""Look for what is wrong with a dataset: repeats, shared artists, damaged sound, doubtful labels."""
