"""Hydra's plugin for the launcher of jobs that share a process."""
