"""What trains a network: module, callbacks, losses, schedulers, augmentation and loggers."""
