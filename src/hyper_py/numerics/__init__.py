"""Mathematics on plain arrays: Gaussians, least squares, polynomials, robust regression, tiles and meshes."""
