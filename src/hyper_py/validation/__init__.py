"""Comparison of a catalogue with the truth."""
