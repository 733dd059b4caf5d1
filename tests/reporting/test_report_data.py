import json
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from helpers.report_tasks import local_noise, small_extraction, small_image
from hyper_py.diagnostics import Flag
from hyper_py.options import Options
from hyper_py.pipeline.extraction import extract_sources
from hyper_py.reporting import report_data
from hyper_py.reporting.report_data import (
    REMARKS,
    bin_image,
    load_report_data,
    make_report_data,
    pack_codes,
    quantise,
    save_report_data,
    unpack_codes,
)

FLOATS = st.floats(-1e6, 1e6) | st.just(float("nan"))


@given(
    npst.arrays(np.float64, npst.array_shapes(min_dims=2, max_dims=2), elements=FLOATS), st.floats(1e-3, 10)
)
def test_pixels_come_back_within_half_a_step_and_blanks_blank(values, step):
    codes, offset, used = quantise(values, step=step)
    back = unpack_codes(pack_codes(codes), values.shape)
    np.testing.assert_array_equal(back, codes)
    assert (
        used >= min(step, np.ptp(values[np.isfinite(values)]) / 65534) if np.isfinite(values).any() else True
    )
    restored = np.where(back == 0, np.nan, offset + used * back.astype(float))
    np.testing.assert_array_equal(np.isnan(restored), np.isnan(values))
    error = np.abs(restored - values)
    assert not (error > used * (0.5 + 1e-6) + 1e-9 * np.abs(values)).any()


def test_noise_is_kept_to_a_twentieth_of_itself():
    values = np.random.default_rng(1).normal(size=(80, 90))
    codes, offset, step = quantise(values, step=0.1)
    assert np.abs(offset + step * codes - values).max() <= 0.05 + 1e-12


def test_binning_is_a_mean_of_what_is_there():
    data = np.arange(35.0).reshape(5, 7)
    data[0, 0] = np.nan
    small = bin_image(data, 2)
    assert small.shape == (3, 4)
    assert small[0, 0] == np.mean([1.0, 7.0, 8.0])
    assert small[2, 3] == 34.0
    data[3:, 5:] = np.nan
    assert np.isnan(bin_image(data, 2)[2, 3])


def columns_of(data):
    raw, place, columns = zlib.decompress(data.blobs["catalog"]), 0, {}
    n = len(raw) // sum(np.dtype(column["kind"]).itemsize for column in data.facts["columns"])
    for column in data.facts["columns"]:
        columns[column["name"]] = np.frombuffer(raw, column["kind"], count=n, offset=place)
        place += columns[column["name"]].nbytes
    return columns


@pytest.mark.parametrize("options", [Options(), local_noise()])
def test_everything_that_the_page_shows_is_there(tmp_path, options):
    extraction = small_extraction(options=options)
    data = make_report_data(extraction)
    save_report_data(tmp_path / "x.npz", data)
    again = load_report_data(tmp_path / "x.npz")
    assert again.blobs == data.blobs
    assert again.facts == json.loads(json.dumps(data.facts))
    columns, table = columns_of(again), extraction.catalog
    for name in ("RA", "FLUX", "FWHM_1", "FLAGS", "HYPER_ID"):
        np.testing.assert_allclose(columns[name], getattr(table[name], "value", table[name]), rtol=1e-6)
    np.testing.assert_allclose(columns["_sigma_1"], extraction.sources[:, 3], rtol=1e-6)
    # Sources of one group have one label, and CLUSTER counts them.
    np.testing.assert_array_equal(np.bincount(columns["_group"])[columns["_group"]], table["CLUSTER"])
    layer = again.facts["layers"]["map"]
    pixels = layer["offset"] + layer["step"] * unpack_codes(again.blobs["map"], extraction.image.shape)
    per_beam = 1e3 * extraction.image.beam_area_pix
    noise = extraction.noise.typical * per_beam
    np.testing.assert_allclose(pixels, extraction.image.data * per_beam, atol=0.06 * noise)
    assert again.facts["unit"] == "mJy/beam"
    assert ("rms" in again.blobs) == isinstance(extraction.rms, np.ndarray)


def test_large_maps_are_binned_and_sources_cut_out(monkeypatch):
    monkeypatch.setattr(report_data, "MAX_PIXELS", 9000)
    extraction = small_extraction()
    data = make_report_data(extraction)
    assert data.facts["binning"] == 2
    assert data.facts["layers"]["map"]["shape"] == [75, 85]
    n_rows, side = data.facts["layers"]["map_cutouts"]["shape"]
    n_cut = n_rows // side
    assert n_cut == min(len(extraction.catalog), 9000 // side**2)
    layer = data.facts["layers"]["map_cutouts"]
    cut = layer["offset"] + layer["step"] * unpack_codes(data.blobs["map_cutouts"], (n_cut, side, side))
    x, y = np.rint([extraction.peaks.x[0], extraction.peaks.y[0]]).astype(int)
    expected = extraction.image.data[y, x] * data.facts["per_beam"]
    assert cut[0, side // 2, side // 2] == pytest.approx(expected, abs=layer["step"])


def test_nothing_found_and_nothing_fitted_have_data_too():
    blank = small_image(n_sources=0)
    none = make_report_data(extract_sources(blank, options=Options()))
    assert columns_of(none)["FLUX"].size == 0
    detected = make_report_data(small_extraction(options=Options(detection_only=True)))
    assert "background" not in detected.blobs
    assert columns_of(detected)["_x_peak"].size > 0


def test_every_flag_is_a_remark_or_calls_for_a_look():
    assert Flag.BLENDED in REMARKS
    assert Flag.FIT_FAILED not in REMARKS
