"""Where the sources are: `matched` (default) and `highpass`; the power spectra and filters they use."""
