"""Simulated skies with exact truth, and the comparison of any catalogue with it."""
