"""Data pipeline from files to batches: dataset -> tracks -> store -> split -> clips -> LightningDataModule."""
