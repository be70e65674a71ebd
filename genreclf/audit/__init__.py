"""Check a dataset for problems: repeats, artists in several subsets, damaged sound and doubtful labels."""
