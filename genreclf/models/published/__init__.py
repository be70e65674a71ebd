"""Architectures of published systems, whose faults can be switched on or off by options."""
