"""Architectures of published systems; their faults are options."""
