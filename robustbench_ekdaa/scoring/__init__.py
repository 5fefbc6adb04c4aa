"""The sweep: a plan of jobs, what becomes of their results, and everything else that is done with a run."""
