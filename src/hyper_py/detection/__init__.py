"""Where the sources are: `matched` (default, a filter of beam-shaped Gaussians) and `highpass`."""
