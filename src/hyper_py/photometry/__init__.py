"""Aperture fluxes and their errors."""
