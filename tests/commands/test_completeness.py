"""The command `completeness`: what it writes and says, and what it refuses."""

import json
import pickle

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table
from astropy.wcs import FITSFixedWarning

from hyper_py import cli
from hyper_py.commands.completeness import limit_text
from hyper_py.injection.plan import InjectionPlan
from hyper_py.pipeline.extraction import extract_sources
from hyper_py.reading.io import read_image
from hyper_py.running.completeness import estimate, local_executor
from hyper_py.simulation.simulate import simulate_image
from hyper_py.writing.simulated_files import write_simulation

QUICK = ("--precision", "0.3", "--max-runs", "5", "--seed", "2")
SKY = ("--set", "shape=[90, 100]", "--set", "n_sources=10", "--set", "margin=2.0")


@pytest.fixture(scope="module")
def call(tmp_path_factory):
    """The program in a directory with a simulated map and its run."""
    root = tmp_path_factory.mktemp("completeness")

    def run(*arguments):
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(root)
            with pytest.raises(SystemExit) as ended:
                cli.main(arguments)
        return int(ended.value.code or 0)

    assert run("simulate", "--preset", "faint", "--seed", "4", "-o", "sky.fits", *SKY) == 0
    assert run("run", "sky.fits", "-o", "out", "-q") == 0
    assert run("completeness", "sky.fits", "-o", "out", "--columns", "-q", *QUICK) == 0
    run.out = root / "out"
    return run


def test_all_files_are_there_and_agree(call):
    place = call.out / "completeness"
    summary = json.loads((place / "completeness_sky.json").read_text())
    assert summary["seed"] == 2
    for suffix in ("txt", "ecsv", "csv"):
        for what in ("", "_limits", "_accuracy", "_purity", "_catalog"):
            assert (place / f"completeness{what}_sky.{suffix}").is_file()
    counts = Table.read(place / "completeness_sky.ecsv")
    assert counts["N_INJECTED"].sum() == 3 * summary["n_injected"]
    limits = Table.read(place / "completeness_limits_sky.ecsv")
    first = limits[(limits["SHAPE"] == "beam") & (limits["QUANTITY"] == "FLUX_PEAK")][0]
    assert first["LIMIT"] == pytest.approx(summary["limits"]["beam"]["FLUX_PEAK"]["50%"][0])
    assert counts.meta["n_runs"] == summary["n_runs"] <= 5
    assert (place / "completeness_sky.png").stat().st_size > 20_000


def test_the_map_of_the_limit_is_on_the_map_in_its_unit(call):
    with (
        fits.open(call.out / "completeness" / "limit_sky.fits") as limit,
        fits.open(call.out.parent / "sky.fits") as sky,
    ):
        assert limit[0].data.shape == sky[0].data.shape
        for key in ("BUNIT", "CRVAL1", "CRPIX2", "CTYPE1"):
            assert limit[0].header[key] == sky[0].header[key]
        values = limit[0].data
        assert np.isnan(values[0]).all()
        typical = np.nanmedian(values)
        # In Jy/pixel: the peak of a source that is found, some times the rms of the map.
        rms = 1.4826 * np.nanmedian(np.abs(sky[0].data - np.nanmedian(sky[0].data)))
        assert rms < typical < 12.0 * rms


def test_the_catalogue_has_the_columns_and_the_runs_own_has_not(call):
    own = Table.read(call.out / "params" / "params_sky.ecsv")
    more = Table.read(call.out / "completeness" / "completeness_catalog_sky.ecsv")
    assert more.colnames == [*own.colnames, "COMPLETENESS", "P_TRUE", "FLUX_BIAS"]
    np.testing.assert_allclose(more["FLUX"], own["FLUX"])


def test_the_page_is_one_file_with_four_figures_and_the_report_links_to_it(call):
    page = (call.out / "completeness" / "completeness_sky.html").read_text()
    assert page.count("data:image/svg+xml;base64,") == 4
    assert "http" not in page.replace("http://www.w3.org", "").replace("http-equiv", "")
    assert "not reached" in page or "–" in page
    assert call("report", "out") == 0
    assert "../completeness/completeness_sky.html" in (call.out / "report" / "index.html").read_text()


def test_resume_makes_no_run_again_and_says_the_same(call, capsys, monkeypatch):
    from hyper_py.running import completeness as runs

    before = (call.out / "completeness" / "completeness_sky.csv").read_bytes()
    monkeypatch.setattr(runs, "run_task", None)  # whatever is run now fails
    capsys.readouterr()
    assert call("completeness", "sky.fits", "-o", "out", "--resume", *QUICK) == 0
    shown = capsys.readouterr()
    assert (call.out / "completeness" / "completeness_sky.csv").read_bytes() == before
    assert "beam-sized, peak (mJy/beam)" in shown.out
    assert "expected false rows:" in shown.out
    assert "threshold for a purity of 99.0%:" in shown.out
    assert "sky: after" in shown.err


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("missing.fits",), 1, "missing.fits: no such file"),
        (("sky.fits", "--precision", "0.9"), 2, "precision is 0.9; it must be between 0 and 0.5"),
        (("sky.fits", "--positions", "here"), 2, "must be random or like-sources"),
        (("sky.fits", "--channel", "1"), 2, "not a cube; leave --channel out"),
        (("sky.fits", "--set", "control.detection_only=true"), 2, "detection_only: false"),
        (
            ("sky.fits", "--set", "detection.fixed_peaks=true", "--set", "detection.xcen_fix=[84.7]",
             "--set", "detection.ycen_fix=[-69.0]"),
            2,
            "completeness is of detected sources",
        ),
    ],
)  # fmt: skip
def test_mistakes_are_one_line(call, capsys, arguments, status, words):
    capsys.readouterr()
    assert call("completeness", *arguments, "-o", "other") == status
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1
    assert words in errors[0]


def test_beam_and_unit_are_given_as_for_run(call, capsys, tmp_path):
    with fits.open(call.out.parent / "sky.fits") as sky:
        bare = fits.PrimaryHDU(sky[0].data, sky[0].header)
        beam = [3600.0 * bare.header[key] for key in ("BMAJ", "BMIN")]
    for key in ("BMAJ", "BMIN", "BPA", "BUNIT"):
        del bare.header[key]
    bare.writeto(tmp_path / "bare.fits")
    where = (str(tmp_path / "bare.fits"), "-o", str(tmp_path / "out"), "-q", *QUICK)
    assert call("completeness", *where) == 1
    error = capsys.readouterr().err
    assert "--beam (survey.beam)" in error
    assert "--unit (units.bunit)" in error
    given = ("--beam", f"{beam[0]},{beam[1]},22.7", "--unit", "Jy/pixel")
    assert call("completeness", *where, *given) == 0
    limits = [
        json.loads((place / f"completeness_{name}.json").read_text())["limits"]["beam"]["FLUX_PEAK"]["50%"]
        for place, name in ((call.out / "completeness", "sky"), (tmp_path / "out" / "completeness", "bare"))
    ]
    assert limits[0] == pytest.approx(limits[1], rel=0.05)


def test_workers_do_not_give_the_warnings_of_the_wcs_again(tmp_path, capfd):
    write_simulation(tmp_path / "sky.fits", simulate_image("faint", seed=4, shape=(60, 70), n_sources=2))
    with fits.open(tmp_path / "sky.fits", mode="update") as file:
        header = file[0].header
        header["OBSGEO-X"], header["OBSGEO-Y"], header["OBSGEO-Z"] = -5464588.0, -2493002.0, 2150654.0
    extraction = extract_sources(read_image(tmp_path / "sky.fits"))
    # Copies of its WCS do give them.
    with pytest.warns(FITSFixedWarning, match="obsfix"):
        pickle.loads(pickle.dumps(extraction.image.wcs))
    plan = InjectionPlan(precision=0.4, max_runs=2, n_surrogates=1)
    capfd.readouterr()
    estimate(extraction, plan=plan, execute=local_executor(2))
    assert "obsfix" not in capfd.readouterr().err


def test_channels_of_a_cube_are_maps_of_their_own(call, capsys):
    assert call(
        "simulate", "--preset", "cube", "-o", "cube.fits", "--set", "shape=[80, 90]", "--set", "n_channels=3",
        "--set", "n_sources=6", "--set", "margin=2.0",
    ) == 0  # fmt: skip
    capsys.readouterr()
    assert call("completeness", "cube.fits", "-o", "cubes") == 2
    assert "choose channels with --channel" in capsys.readouterr().err
    assert call("completeness", "cube.fits", "-o", "cubes", "--channel", "9", "-q", *QUICK) == 2
    assert "has 3 channels" in capsys.readouterr().err
    assert call("completeness", "cube.fits", "-o", "cubes", "--channel", "2", "-q", *QUICK) == 0
    assert (call.out.parent / "cubes" / "completeness" / "completeness_cube_0002.ecsv").is_file()


def test_bands_are_done_together(call, capsys):
    fields = ("--set", "size=500", "--set", "n_sources=8", "--set", "pair_fraction=0")
    assert call("simulate", "--preset", "bands", "--seed", "3", "-o", "field", *fields) == 0
    maps = [
        str(path.relative_to(call.out.parent))
        for path in sorted((call.out.parent / "field").glob("s[23]*.fits"))
    ]
    assert len(maps) == 2
    capsys.readouterr()
    assert call("completeness", *maps, "-o", "joint", "--bands", "--precision", "0.3", "--max-runs", "4") == 0
    shown = capsys.readouterr()
    assert "after 4 runs: 80% at a joint S/N of" in shown.err
    assert "joint S/N" in shown.out
    place = call.out.parent / "joint" / "completeness"
    summary = json.loads((place / "completeness_bands.json").read_text())
    limits = Table.read(place / "completeness_limits_bands.ecsv")
    assert set(limits["QUANTITY"]) == {"SNR", *(f"FLUX_{name}" for name in summary["bands"])}
    assert call("completeness", *maps, "-o", "joint", "--bands", "--channel", "1") == 2
    assert "--bands: leave --channel" in capsys.readouterr().err
    # What was made is used again.
    again = ("--precision", "0.3", "--max-runs", "4", "--resume", "-q")
    assert call("completeness", *maps, "-o", "joint", "--bands", *again) == 0
    assert json.loads((place / "completeness_bands.json").read_text()) == summary


def test_limits_are_shown_with_their_errors_where_they_are_known():
    assert limit_text(1.23456, 0.0123) == "1.235 +- 0.012"
    assert limit_text(1.23456, float("nan")) == "1.235"
    assert limit_text(float("nan"), 0.1) == "not reached"


def test_validate_shows_the_limits_of_the_same_curve(call, capsys):
    fields = ("--set", "shape=[160, 170]", "--set", "n_sources=40")
    assert call("simulate", "--preset", "faint", "--seed", "5", "-o", "more.fits", *fields) == 0
    assert call("run", "more.fits", "-o", "out2", "-q") == 0
    capsys.readouterr()
    assert call("validate", "out2/params/params_more.ecsv", "more_truth.ecsv", "--figure", "more.png") == 0
    shown = capsys.readouterr().out
    assert "Limits of the smooth curve" in shown
    row = next(line for line in shown.splitlines() if line.startswith("  50%"))
    assert 3.0 < float(row.split()[1]) < 8.0
