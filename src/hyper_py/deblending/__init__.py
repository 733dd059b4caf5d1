"""Sources that overlap: grouping, score test, splitting, model selection."""
