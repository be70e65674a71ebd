"""From files to batches: dataset -> tracks -> store -> split -> clips -> LightningDataModule."""
