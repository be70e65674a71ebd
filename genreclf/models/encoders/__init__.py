"""Pretrained encoders: networks whose embeddings a probe classifies, or from which fine-tuning starts."""
