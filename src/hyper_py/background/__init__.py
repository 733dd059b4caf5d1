"""The background under a group of sources, and how it is chosen.

`background.method: conditional` (default) takes the mean of the random field of noise and background, given
the field around the sources: `conditional`. Nothing is chosen; the measured covariance decides.

`background.method: polynomial` fits a polynomial before the Gaussians (`separate`: boxes of several sizes,
of which `selection` takes the best by a criterion), or jointly with them (`joint`; its order is chosen in
`hyper_py.fitting.joint_orders`), or both.

All are background models (`model`). `plane` holds the plane through the whole map, `wiener` a smooth
background of the whole map for products of cubes, `spectral_smoothing` its mean over channels,
`mosaic_levels` the steps between the tiles of a mosaic.
"""
