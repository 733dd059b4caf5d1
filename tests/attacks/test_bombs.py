"""Files that promise more than they hold, hold more than they promise, or never end."""

import bz2
import gzip
import io
import os
import resource
import shutil
import tracemalloc

import numpy as np
import pytest
from astropy.io import fits

from helpers.attacks import do, write_maps
from hyper_py.config import parse_yaml, read_mapping
from hyper_py.diagnostics import ConfigurationError, HyperPyError, InputError
from hyper_py.files import checksum, open_regular
from hyper_py.reading.fits_files import open_fits
from hyper_py.reading.io import read_image
from hyper_py.reading.recognise import is_cube
from hyper_py.reading.unpacking import is_packed, unpack
from hyper_py.reporting.report_data import load_report_data

pytestmark = [pytest.mark.attacks, pytest.mark.filterwarnings("ignore")]


def header(nx, ny, *, bitpix=-32):
    cards = {"SIMPLE": True, "BITPIX": bitpix, "NAXIS": 2, "NAXIS1": nx, "NAXIS2": ny, "BUNIT": "Jy/beam"}
    return fits.Header(cards).tostring().encode()


def within(limit, call):
    """Call something; its memory must stay below a limit in bytes."""
    tracemalloc.start()
    try:
        return call()
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < limit


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress])
def test_a_packed_file_is_unpacked_no_further_than_its_headers_go(tmp_path, pack):
    path = tmp_path / "bomb.fits.gz"
    path.write_bytes(pack(header(10, 10) + bytes(2880) + b"x" * 50_000_000))
    target = io.BytesIO()
    target.name = str(tmp_path / "out")
    within(10_000_000, lambda: unpack(path, target))
    assert len(target.getvalue()) <= 5 * 2880
    with pytest.raises(InputError, match="data continue beyond the end"), open_fits(path):
        pass


def test_zeros_that_are_no_fits_are_refused_at_once(tmp_path):
    path = tmp_path / "zeros.fits.gz"
    path.write_bytes(gzip.compress(bytes(200_000_000), 1))
    target = io.BytesIO()
    target.name = str(tmp_path / "out")
    unpack(path, target)
    assert len(target.getvalue()) <= 2 * 2880
    with pytest.raises(InputError, match="not a FITS file"), open_fits(path):
        pass


@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("side", [40_000, 4_000_000])
def test_a_header_that_promises_too_much_is_refused_before_memory_or_disk(tmp_path, packed, side):
    path = tmp_path / "promise.fits"
    text = header(side, side) + bytes(2880)
    path.write_bytes(gzip.compress(text) if packed else text)
    with pytest.raises(InputError, match="cut short"):
        within(5_000_000, lambda: read_image(path))


def test_what_does_not_fit_on_the_disk_is_not_begun(tmp_path, monkeypatch):
    path = tmp_path / "large.fits.gz"
    path.write_bytes(gzip.compress(header(1000, 1000) + bytes(4_002_840)))
    usage = shutil.disk_usage(tmp_path)._replace(free=1_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(InputError, match=r"GB to unpack, but 0\.001 GB are free"), open_fits(path):
        pass


@pytest.mark.parametrize("kind", ["pipe", "zero", "random", "directory", "circle"])
def test_what_is_no_regular_file_costs_its_own_map_only(tmp_path, kind):
    maps = write_maps(tmp_path / "maps", {"a": "sources 1", "odd": "", "c": "sources 2"})
    odd = maps[1]
    odd.unlink()
    match kind:
        case "pipe":
            os.mkfifo(odd)
        case "directory":
            odd.mkdir()
        case "circle":
            odd.symlink_to(odd)
        case _:
            odd.symlink_to({"zero": "/dev/zero", "random": "/dev/urandom"}[kind])
    assert not is_cube(odd)
    if kind == "directory":
        with pytest.raises((InputError, OSError)):
            checksum(odd)
        return
    result = do(tmp_path / "out", maps)
    assert [one.name for one in result.failures] == ["odd"]
    assert "odd.fits" in result.failures[0].reason


@pytest.mark.parametrize(
    "text",
    [
        "b0: &b0 [x]\n" + "\n".join(f"b{k + 1}: &b{k + 1} [{', '.join([f'*b{k}'] * 9)}]" for k in range(8)),
        "a: &a [*a]",
        "a: &a {b: *a}",
        "[" * 5000,
        "a: &a {x: 1}\n" + "\n".join(f"b{k}: {{<<: *a, y: *a}}" for k in range(9000)),
    ],
)
def test_yaml_that_stands_for_more_than_it_says_is_refused(text):
    with pytest.raises(ConfigurationError) as raised:
        within(50_000_000, lambda: parse_yaml(text, source="bomb.yaml"))
    assert len(str(raised.value)) < 300


def test_brackets_within_brackets_are_read_up_to_a_depth_and_refused_at_once_beyond_it():
    """For each further one the parser looks at all that are open."""
    nested = parse_yaml("a: " + "[" * 40 + "]" * 40, source="x")["a"]
    for _ in range(39):
        (nested,) = nested
    assert nested == []
    with pytest.raises(ConfigurationError, match=r"bomb\.yaml, line 2: brackets within 50 others"):
        parse_yaml("a: 1\nb: " + "[" * 500_000, source="bomb.yaml")


def test_aliases_that_are_of_use_are_read():
    assert parse_yaml("a: &a {x: 1}\nb: *a\nc: {<<: *a, y: 2}", source="x") == {
        "a": {"x": 1}, "b": {"x": 1}, "c": {"x": 1, "y": 2},
    }  # fmt: skip


def test_a_configuration_that_never_ends_or_never_begins_is_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.yaml")
    (tmp_path / "zero.yaml").symlink_to("/dev/zero")
    for name in ("pipe.yaml", "zero.yaml"):
        with pytest.raises(ConfigurationError, match="pipe or device"):
            read_mapping(tmp_path / name)


def test_report_data_that_unpack_without_end_are_no_report_data(tmp_path):
    np.savez_compressed(tmp_path / "m.report.npz", facts=np.zeros(100_000_000, np.uint8))
    with pytest.raises(ValueError, match="not written by this program"):
        within(10_000_000, lambda: load_report_data(tmp_path / "m.report.npz"))


def test_a_list_without_an_end_is_refused(tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(HyperPyError, match="cannot be read as a list"):
        do(tmp_path / "out", ["@/dev/zero"])


def test_files_are_hashed_to_the_size_they_had(tmp_path):
    path = tmp_path / "growing"
    path.write_bytes(b"x" * 10)
    with open_regular(path) as stream:
        assert stream.read() == b"x" * 10
    with pytest.raises(InputError, match="pipe or device"):
        checksum("/dev/zero")
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < 8_000_000
    assert not is_packed(path)
