"""The sweep: a plan of jobs, their execution, and the store of what every target predicted for every image."""
