"""The built-in learning rules, one a file: its equations and nothing else."""
