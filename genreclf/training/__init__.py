"""Training of networks: LightningModule, callbacks, losses, schedulers, augmentation and loggers."""
