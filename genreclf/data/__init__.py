"""From files to batches: source -> tracks -> store -> split -> clips -> LightningDataModule."""
