"""The noise of a map: rms, covariance, whitening, multiplicative noise, statistics."""
