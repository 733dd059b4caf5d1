"""Groups of sources and their fits: fit pixels, the group fit, the iterative fit."""
