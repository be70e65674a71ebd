"""Runs put side by side: grouped over seeds and folds, tested track by track, told in tables, pictures and one page."""
