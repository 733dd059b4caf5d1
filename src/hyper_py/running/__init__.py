"""Many maps: inputs, tasks, executors, the run and what it says."""
