"""How complete and how pure a catalogue is: sources injected into the user's own map, and recovered.

`sensitivity` (noise of the optimal filter, everywhere), `setup` (what is injected into), `drawing` (which
sources, and where), `recovery` (one realisation), `curve` (completeness and its limits), `accuracy` (bias,
scatter and pulls), `purity` (maps without sources), `completeness` (all of it in one result).
"""
