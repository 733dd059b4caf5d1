"""Catalogues that must be the same, but for rounding or byte for byte."""

import numpy as np

from hyper_py.diagnostics import Flag


def assert_same(catalog, expected, *, rtol=1e-6):
    assert len(catalog) == len(expected) > 10
    resolved = expected["FLAGS"] & int(Flag.UNRESOLVED) == 0
    for name in expected.colnames:
        # Of an unresolved source the deconvolved size is the root of what rounding leaves of zero.
        rows = resolved if name.startswith("DECONV_FWHM") else slice(None)
        one, other = (getattr(table[name], "value", table[name])[rows] for table in (catalog, expected))
        if np.asarray(other).dtype.kind in "fc":
            scale = np.nanmax(np.abs(other), initial=0.0)
            # The error of a size at its bound is the square root of what is left of zero.
            rounding = (1e-8 if name.endswith("ERR") else 1e-9) * scale
            np.testing.assert_allclose(one, other, rtol=rtol, atol=rounding, err_msg=name)
        else:
            np.testing.assert_array_equal(one, other, err_msg=name)


def assert_same_bytes(catalog, expected):
    assert catalog.colnames == expected.colnames
    assert len(catalog) == len(expected) > 10
    for name in expected.colnames:
        one, other = (np.asarray(getattr(table[name], "value", table[name])) for table in (catalog, expected))
        assert one.tobytes() == other.tobytes(), name
