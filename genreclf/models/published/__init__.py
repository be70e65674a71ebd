"""Architectures of published systems, with their faults as options."""
