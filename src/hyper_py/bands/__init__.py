"""Several bands of one field: one list of sources, each fitted in all bands at once.

A source has one position, one intrinsic shape and a flux in each band. Positions and shapes are in arcsec on
one tangent plane.
"""
