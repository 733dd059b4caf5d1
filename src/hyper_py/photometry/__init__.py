"""Aperture fluxes and their errors, on the conditional background (default) or on polynomials.

`conditional_flux` and `aperture_flux` are the fluxes, `flux_errors` how their errors come about,
`measurements` the table of all sources.
"""
