"""Many runs: a process for each job, what became of it, and the summary of all."""
