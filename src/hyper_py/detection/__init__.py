"""Detection: `matched` (default), the best filter in a family of beam-shaped Gaussians."""
