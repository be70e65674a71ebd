"""Comparison of genreclf with autrainer, Hugging Face's Trainer and a plain Lightning script."""
