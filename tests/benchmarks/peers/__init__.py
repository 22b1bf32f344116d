"""One file an engine: `start(workload)` gives a function that trains some epochs and says how many."""
