"""Trained models for others: safetensors, the configuration, the honest figures, and the Hugging Face hub."""
