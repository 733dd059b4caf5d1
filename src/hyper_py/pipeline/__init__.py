"""The steps put together: one map, one cube."""
