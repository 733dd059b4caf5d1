"""Fields of several bands: which maps belong to which, what is written, and going on where a run ended."""

import json
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from helpers.field_tasks import measure, write_field
from helpers.runner_tasks import files_below
from hyper_py.config import Config
from hyper_py.diagnostics import ConfigurationError, InputError
from hyper_py.running.field_task import BandInput, read_band
from hyper_py.running.fields import field_tasks, resolve_fields, run_fields
from hyper_py.writing.tables import read_table

NAMES = ["p100", "p160", "s250", "s350", "s500"]


def config_of(root, **sections):
    mapping = {
        "version": 2,
        "paths": {"input": {"dir_maps": "."}, "output": {"dir_root": str(root / "out")}},
        "control": {"executor": "serial"},
        **sections,
    }
    return Config.from_mapping(mapping, base_dir=root)


def tasks_of(config, inputs):
    return field_tasks(resolve_fields(config, inputs), config)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """One field, done: its directory and the result."""
    root = tmp_path_factory.mktemp("field")
    maps = write_field(root, seed=2)
    config = config_of(
        root, outputs={"tables": ["ipac", "ecsv", "csv", "fits", "votable", "parquet"]},
        fits_output={"fits_fitting": True, "fits_bg_separate": True},
        maps={"s250": {"name": "S 250"}, "p160": {"calibration_error": 0.07}},
    )  # fmt: skip
    return root, run_fields(config, maps, measure=measure)


class TestWhichMaps:
    def test_files_are_one_field(self, tmp_path):
        maps = write_field(tmp_path)
        (field,) = resolve_fields(config_of(tmp_path), [*maps])
        assert field.name == "bands"
        assert list(field.paths) == NAMES

    def test_entries_name_bands_and_files(self, tmp_path):
        config = config_of(tmp_path, maps={"blue": {"path": "p100.fits", "name": "B"}, "s250": {}})
        (field,) = resolve_fields(config, None)
        assert field.paths == {"blue": tmp_path / "p100.fits", "s250": tmp_path / "s250.fits"}
        maps = write_field(tmp_path)
        (field,) = resolve_fields(config, maps[:2])
        assert list(field.paths) == ["blue", "p160"]
        (task,) = field_tasks([field], config)
        assert [band.name for band in task.bands] == ["B", "p160"]

    def test_directories_are_fields(self, tmp_path):
        for seed, name in enumerate(("east", "west"), start=1):
            write_field(tmp_path / name, seed=seed)
        (tmp_path / "east/s250_psf.fits").write_bytes((tmp_path / "east/s250.fits").read_bytes())
        fields = resolve_fields(config_of(tmp_path), [tmp_path / "east", tmp_path / "west"])
        assert [field.name for field in fields] == ["east", "west"]
        assert list(fields[0].paths) == NAMES
        some = config_of(tmp_path, maps={"s250": {}, "s350": {}, "s999": {}})
        assert [list(f.paths) for f in resolve_fields(some, [tmp_path / "west"])] == [["s250", "s350"]]

    @pytest.mark.parametrize(
        ("inputs", "maps", "message"),
        [
            (None, {}, "no maps to measure: give the maps of a field"),
            (["p100.fits"], {}, "a field needs two maps or more"),
            (["p100.fits", "."], {}, "a directory among files"),
            (["p100.fits", "sub/p100.fits"], {}, "a second map with the name p100"),
            (["a.fits", "b.fits"], {"a": {"name": "x"}, "b": {"name": "x"}}, "two bands of one name"),
        ],
    )
    def test_mistakes_are_named(self, tmp_path, monkeypatch, inputs, maps, message):
        monkeypatch.chdir(tmp_path)
        with pytest.raises(ConfigurationError, match=message):
            tasks_of(config_of(tmp_path, maps=maps), inputs)


class TestWavelength:
    def read(self, path, **keys):
        config = config_of(path.parent, maps={"m": keys}).for_map("m")
        return read_band(BandInput(name="m", path=path, config=config))

    def test_it_is_that_of_the_header_or_the_configuration(self, tmp_path):
        path = write_field(tmp_path)[2]
        assert self.read(path).wavelength == 250.0
        assert self.read(path, wavelength=255).wavelength == 255.0
        with fits.open(path, mode="update") as hdus:
            del hdus[0].header["WAVELNTH"]
            hdus[0].header["RESTFRQ"] = 299792458.0 / 350e-6
        assert self.read(path).wavelength == pytest.approx(350.0, rel=1e-8)

    def test_a_missing_one_is_named_with_its_remedy(self, tmp_path):
        path = write_field(tmp_path)[2]
        with fits.open(path, mode="update") as hdus:
            del hdus[0].header["WAVELNTH"]
        message = r"s250.fits: no wavelength in the header .*maps.m.wavelength"
        with pytest.raises(InputError, match=message) as raised:
            self.read(path)
        assert "\n" not in str(raised.value)
        assert self.read(path, survey="spire250").wavelength == 250.0

    def test_a_missing_unit_is_named_with_its_key_for_this_map_alone(self, tmp_path):
        path = write_field(tmp_path)[2]
        with fits.open(path, mode="update") as hdus:
            del hdus[0].header["BUNIT"]
        with pytest.raises(InputError, match=r"set units\.bunit to one of .*; for this map alone.* maps\.m$"):
            self.read(path)
        assert self.read(path, units={"bunit": "Jy/beam"}).image.unit == "Jy/beam"


class TestOutputs:
    def test_everything_is_written(self, done):
        root, result = done
        assert not result.failures
        assert result.exit_code == 0
        found = files_below(root / "out")
        for kind in ("", "_long"):
            for suffix in (".txt", ".ecsv", ".csv", ".fits", ".vot", ".parquet"):
                assert f"params/params_bands{kind}{suffix}" in found
        for band in ("p100", "S 250", "s500"):
            assert f"regions/region_files_bands_{band}_ellipses.reg" in found
            assert f"fits/fitting/bands_{band}_model.fits" in found
            assert f"fits/bg_separate/bands_{band}_background.fits" in found
            assert f"fits/fitting/bands_{band}_rms.fits" in found
        assert "report/index.html" in found
        assert set(result.maps[0].outputs) <= set(found)
        (entry,) = json.loads((root / "out/run.json").read_text())["maps"]
        assert [band["name"] for band in entry["bands"]] == ["p100", "p160", "S 250", "s350", "s500"]
        page = (root / "out/report/index.html").read_text()
        for band in entry["bands"]:
            assert Path(band["path"]).is_file()
            assert band["path"] in page
        assert "Keys of single maps" in page
        assert "default" not in page.partition("Keys of single maps")[2].partition("</details>")[0]

    def test_tables_have_units_and_wavelengths_in_every_format(self, done):
        root, _ = done
        whole = Table.read(root / "out/params/params_bands.ecsv")
        assert whole["FLUX_s500"].unit == "mJy"
        assert whole.meta["wavelength_um_S_250"] == 250.0
        assert whole["FLUX_s500"].meta["ucd"].startswith("phot.flux.density;em.mm")
        assert "Aperture" not in whole["FLUX_s500"].description
        assert "FLUX_CAL_ERR_p160" in whole.colnames
        assert "FLUX_CAL_ERR_p100" not in whole.colnames
        for suffix in (".txt", ".fits", ".vot", ".parquet"):
            other = read_table(root / f"out/params/params_bands{suffix}")
            assert [name.upper() for name in other.colnames] == [name.upper() for name in whole.colnames]
            np.testing.assert_allclose(other["FLUX_s350"], whole["FLUX_s350"], rtol=1e-5)
        # The merged catalogue of one field has its columns, in all formats.
        for suffix in (".txt", ".ecsv", ".csv", ".fits", ".vot", ".parquet"):
            merged = read_table(root / f"out/params/params_ALL{suffix}")
            assert len(merged) == len(whole)
            np.testing.assert_allclose(merged["FLUX_s350"], whole["FLUX_s350"], rtol=1e-5)
            np.testing.assert_array_equal(merged["FLAGS"], whole["FLAGS"])
        long = Table.read(root / "out/params/params_bands_long.vot")
        assert set(long["BAND"]) == {"p100", "p160", "S 250", "s350", "s500"}
        assert long["WAVELENGTH"].unit == "um"

    def test_regions_are_where_the_band_shows_the_sources(self, done):
        from regions import Regions

        root, _ = done
        regions = Regions.read(root / "out/regions/region_files_bands_s500_ellipses.reg")
        table = Table.read(root / "out/params/params_bands.ecsv")
        assert len(regions) == len(table)
        east = table.meta["offset_east_arcsec_s500"] / np.cos(np.radians(table["DEC"])) / 3600
        shown = np.array([region.center.ra.deg for region in regions])
        np.testing.assert_allclose(shown, table["RA"] + east, atol=2 / 3600)
        assert regions[0].height.to_value("arcsec") > 30.0

    def test_model_and_residual_are_the_map(self, done):
        root, _ = done
        model, residual = (
            fits.getdata(root / f"out/fits/fitting/bands_s350_{k}.fits") for k in ("model", "residual")
        )
        np.testing.assert_allclose(model + residual, fits.getdata(root / "s350.fits"), atol=1e-5)


class TestManyFields:
    def test_fields_run_in_parallel_and_are_resumed(self, tmp_path):
        places = [tmp_path / f"field{seed}" for seed in (1, 2, 13)]
        for seed, place in zip((1, 2, 13), places, strict=True):
            write_field(place, seed=seed)
        config = config_of(tmp_path, control={"executor": "processes", "n_cores": 2})
        result = run_fields(config, places, measure=measure)
        assert [one.status for one in result.maps] == ["done", "done", "failed"]
        assert result.maps[2].reason == "thirteen"
        assert result.exit_code == 1
        found = files_below(tmp_path / "out")
        assert "params/params_field1_long.ecsv" in found
        assert "report/field2.html" in found
        merged = Table.read(tmp_path / "out/params/params_ALL.ecsv")
        assert len(merged) == 16
        texts = read_table(tmp_path / "out/params/params_ALL.txt")
        np.testing.assert_allclose(texts["FLUX_s350"], merged["FLUX_s350"], rtol=1e-5)
        assert set(merged["MAP_ID"]) == {"field1", "field2"}
        again = run_fields(config, places[:2], measure=measure, resume=True)
        assert [one.status for one in again.maps] == ["resumed", "resumed"]
        assert again.maps[0].bands == result.maps[0].bands
        write_field(places[1], seed=3)
        third = run_fields(config, places[:2], measure=measure, resume=True)
        assert [one.status for one in third.maps] == ["resumed", "done"]

    def test_other_keys_of_a_band_are_another_result(self, tmp_path):
        maps = write_field(tmp_path)
        first = config_of(tmp_path)
        run_fields(first, maps, measure=measure)
        assert run_fields(first, maps, measure=measure, resume=True).maps[0].status == "resumed"
        other = config_of(tmp_path, maps={"s350": {"wavelength": 351}})
        assert run_fields(other, maps, measure=measure, resume=True).maps[0].status == "done"

    def test_a_missing_file_fails_its_field_alone(self, tmp_path):
        maps = write_field(tmp_path)
        maps[1].unlink()
        result = run_fields(config_of(tmp_path), maps, measure=measure)
        assert result.maps[0].status == "failed"
        assert result.maps[0].reason == f"{maps[1]}: no such file"
