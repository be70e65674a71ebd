"""Plots of data, runs, songs, comparisons and sweeps, all in the style of `genreclf.plots.style`."""
