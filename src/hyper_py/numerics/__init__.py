"""Mathematics on arrays: Gaussians, solvers, polynomials, robust regression, noise."""
