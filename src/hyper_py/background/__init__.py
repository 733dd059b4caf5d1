"""The background under a group: `conditional` (default), `polynomial` (separate, joint), plane."""
