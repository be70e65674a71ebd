"""The typed configuration, its checks and how objects are made from it."""
