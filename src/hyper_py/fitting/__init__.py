"""Groups of sources and their fits.

`groups` is what belongs to a group, `group_fit` what its fit minimises, `iterative` the fit of many groups
with their neighbours subtracted, `linear_response` how parameters respond to noise. `setup` prepares groups
in correlated noise (default), `white` in white noise.
"""
