"""Many maps: inputs, tasks, executors, and the run with its log and events."""
