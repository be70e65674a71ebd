"""Clips to tracks, metrics with intervals, figures and the report; the same code in validation and in the test."""
