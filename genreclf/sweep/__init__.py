"""Sweeps: run each job or group of jobs in a process, record the outcome of each job, and write a summary."""
