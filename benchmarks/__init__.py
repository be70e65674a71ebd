"""Benchmarks of genreclf, which reproduce the speed claims of the documentation; not part of the installed package."""
