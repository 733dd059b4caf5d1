"""Aperture fluxes and their errors, on the conditional background (default) or on polynomials.

`conditional_flux` and `aperture_flux` are the fluxes, `flux_errors` how their errors come about,
`source_table` the table of all sources, `measurements` how it comes from the groups of a map, `kept_sources`
which of the sources are kept.
"""
