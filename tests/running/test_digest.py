"""The few numbers of a map are those of its table; the places of a cube are those of its sources."""

import numpy as np
import pytest
from astropy.table import QTable
from scipy.sparse import csr_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial.distance import cdist

from helpers.runner_tasks import make_config, measure
from hyper_py.diagnostics import FLAG_TEXT, Flag
from hyper_py.reporting.cube_page import MATCHED_BEAMS
from hyper_py.reporting.report_data import REMARKS
from hyper_py.running import runner
from hyper_py.running.digest import digest
from hyper_py.simulation.simulate import simulate_cube
from hyper_py.writing.simulated_files import write_cube


def made(tmp_path, n_sources):
    (tmp_path / "m.fits").write_text(f"sources {n_sources}")
    config = make_config(tmp_path / "out", outputs={"tables": ["ecsv"]}, detection={"sigma_thres": 6.5})
    assert runner.run(config, [tmp_path / "m.fits"], measure=measure).exit_code == 0
    return digest(tmp_path / "out", "m", config=config), tmp_path / "out"


def test_numbers_are_those_of_the_table(tmp_path):
    found, root = made(tmp_path, 40)
    table = QTable.read(root / "params/params_m.ecsv")
    flux, snr = table["FLUX"].to_value(found.flux_unit), np.asarray(table["SNR"])
    assert found.flux == pytest.approx((flux.min(), np.median(flux), flux.max()), rel=1e-3)
    positive = snr > 0.0
    assert 0 < np.count_nonzero(positive) < len(table)
    limit = 6.5 * np.median(table["FLUX_PEAK"].value[positive] / snr[positive])
    assert (found.limit, found.threshold) == (pytest.approx(limit, rel=1e-3), 6.5)
    assert (found.n_rows, found.n_places, found.n_channels) == (40, 40, 0)
    flags = np.asarray(table["FLAGS"])
    counts = [np.count_nonzero(flags & int(flag)) for flag in FLAG_TEXT]
    assert list(found.flags.values()) == sorted(filter(None, counts), reverse=True)
    assert found.flags["size at bound"] == np.count_nonzero(flags & int(Flag.SIZE_AT_BOUND))
    assert found.n_calling == np.count_nonzero(flags & ~int(REMARKS))


def test_a_map_without_rows_and_one_that_is_not_there(tmp_path):
    found, root = made(tmp_path, 0)
    assert (found.n_rows, found.flux, found.limit, found.flags, found.n_calling) == (0, None, None, {}, 0)
    assert digest(root, "other", config=make_config(root)) is None


def test_a_source_in_several_channels_is_one_place(tmp_path):
    cube = simulate_cube(
        seed=2, shape=(64, 70), n_sources=3, n_channels=4, line_fwhm=(20, 30), peak_range=(40, 60)
    )
    write_cube(tmp_path / "cube.fits", cube)
    config = make_config(tmp_path / "out", outputs={"tables": ["ecsv"]})
    assert runner.run(config, [tmp_path / "cube.fits"]).exit_code == 0
    found = digest(tmp_path / "out", "cube", config=config)
    table = QTable.read(tmp_path / "out/params/params_cube_ALL.ecsv")
    places = np.column_stack([table["X"].value, table["Y"].value])
    near = cdist(places, places) <= MATCHED_BEAMS * cube.channel(0).image.beam_fwhm_pix
    n_places, _ = connected_components(csr_array(near))
    assert (found.n_channels, found.n_rows) == (4, len(table))
    assert found.n_places == n_places < len(table)
