"""The report of an extraction that was made in Python: one file, no network, what the options were."""

import re

import pytest

import hyper_py
from hyper_py.reporting.extraction_page import write_page


@pytest.fixture(scope="module")
def extraction():
    sky = hyper_py.simulate_image("faint", seed=1, shape=(80, 80), n_sources=3, peak_range=(20, 30))
    return hyper_py.extract_sources(sky.image, detection={"sigma_thres": 6})


def test_one_page_that_loads_nothing(extraction, tmp_path):
    path = write_page(extraction, tmp_path / "report.html")
    text = path.read_text(encoding="utf-8")
    assert [one.name for one in tmp_path.iterdir()] == ["report.html"]
    assert not re.search(r"""(?:src|href)=["']https?:""", text)
    assert "detection.sigma_thres" in text
    assert f"{len(extraction.catalog)} sources" in text
    assert "made in Python" in text


def test_other_names_are_refused(extraction, tmp_path):
    with pytest.raises(hyper_py.HyperPyError, match=r"give a name that ends with \.html"):
        extraction.report(tmp_path / "report.pdf")
    extraction.report(tmp_path / "a.html")
    with pytest.raises(hyper_py.HyperPyError, match="exists: give overwrite=True"):
        extraction.report(tmp_path / "a.html", overwrite=False)
