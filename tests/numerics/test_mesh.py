import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from scipy.interpolate import RegularGridInterpolator

from hyper_py.numerics.mesh import mesh_map


@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 60), st.integers(1, 60))
def test_is_linear_between_the_centres_of_cells(seed, mesh, ny, nx):
    rng = np.random.default_rng(seed)
    cells = -(-ny // mesh), -(-nx // mesh)
    levels = rng.uniform(1.0, 2.0, cells)
    image = mesh_map(levels, mesh=mesh, shape=(ny, nx))
    # Repeated beyond the border, so that scipy has something to interpolate there.
    centres = [mesh * (np.arange(-1, n + 1) + 0.5) - 0.5 for n in cells]
    referee = RegularGridInterpolator(centres, np.pad(levels, 1, mode="edge"))
    rows, columns = np.mgrid[:ny, :nx]
    np.testing.assert_allclose(image[:, :], referee((rows, columns)), rtol=1e-12)
    y, x = rng.integers(0, ny, 20), rng.integers(0, nx, 20)
    np.testing.assert_allclose(image.at(y, x), referee((y, x)), rtol=1e-12)
    np.testing.assert_allclose(image.scaled(3.0)[y[0] :, x[0] :], 3.0 * np.asarray(image)[y[0] :, x[0] :])


def test_missing_levels_are_those_of_neighbours():
    levels = np.array([[1.0, np.nan], [np.nan, np.nan], [np.nan, 4.0]])
    filled = mesh_map(levels, mesh=4, shape=(12, 8)).values
    np.testing.assert_allclose(filled, [[1.0, 1.0], [2.5, 2.5], [4.0, 4.0]])
