"""From clips to tracks, and metrics with intervals; the same code in validation and in the test."""
