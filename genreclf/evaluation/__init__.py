"""Aggregate clip predictions to tracks and compute metrics with intervals, in validation and testing alike."""
