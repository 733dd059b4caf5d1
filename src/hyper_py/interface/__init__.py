"""The functions that `import hyper_py` offers: they take what astropy gives, and name their arguments."""
