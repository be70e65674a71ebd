"""Many runs: a process for each job or for a group of them, what became of it, and the summary of all."""
