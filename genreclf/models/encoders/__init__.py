"""Pretrained encoders: networks whose embeddings a probe classifies or a fine-tuning goes on from."""
