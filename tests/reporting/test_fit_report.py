"""The report of fits and their covariances, against the catalogue of the same map."""

import re

import numpy as np
import pytest
from astropy.table import Table

from helpers.fields_of_options import small_map
from hyper_py.options import BackgroundOptions, FitOptions, Options
from hyper_py.pipeline.extraction import extract_sources
from hyper_py.reporting.fit_report import PARAMETER_NAMES, fit_covariances, fit_report

WHITE = FitOptions(noise_model="white")
KINDS = {
    "conditional": Options(),
    "polynomial": Options(fit_options=WHITE, background=BackgroundOptions(method="polynomial")),
    "joint": Options(
        background=BackgroundOptions(
            method="polynomial", fit_gauss_and_bg_together=True, fit_gauss_and_bg_separately=False
        )
    ),
    "on top": Options(
        fit_options=WHITE, background=BackgroundOptions(method="polynomial", fit_gauss_and_bg_together=True)
    ),
}


@pytest.fixture(scope="module", params=KINDS)
def extraction(request):
    return request.param, extract_sources(small_map(), options=KINDS[request.param])


def test_report_has_every_source_once_and_its_background(extraction):
    kind, extracted = extraction
    lines = fit_report(extracted)
    sources = [int(m[1]) for line in lines if (m := re.match(r"  (\d+): amplitude", line))]
    assert sorted(sources) == list(extracted.catalog["HYPER_ID"])
    heads = [line for line in lines if line.startswith("fit ")]
    words = {"conditional": "conditional", "polynomial": "least_squares in", "joint": "fitted jointly"}
    assert all(words.get(kind, "on top of polynomial") in line for line in heads)
    assert all("converged" in line for line in heads)
    text = "\n".join(lines)
    one = extracted.sources[0]
    assert f"amplitude {one[0]:.6g} +- " in text


def test_covariances_are_those_of_the_catalogue_and_survive_a_file(extraction, tmp_path):
    _, extracted = extraction
    fit_covariances(extracted).write(tmp_path / "c.ecsv", format="ascii.ecsv")
    table = Table.read(tmp_path / "c.ecsv")
    assert table.meta["parameters"] == list(PARAMETER_NAMES)
    assert sorted(table["HYPER_ID"]) == list(extracted.catalog["HYPER_ID"])
    for row in table:
        members = list(table["HYPER_ID"][table["FIT"] == row["FIT"]])
        blocks = np.asarray(row["COVARIANCE"]).reshape(-1, 6, 6)
        assert len(blocks) == len(members)
        own = blocks[members.index(row["HYPER_ID"])]
        source = extracted.catalog[row["HYPER_ID"] - 1]
        assert np.sqrt(own[1, 1]) == pytest.approx(source["X_ERR"].value)
        np.testing.assert_allclose(row["VALUE"][1], source["X"].value)


def test_nothing_found_is_said():
    extracted = extract_sources(small_map(n_sources=0), options=Options())
    assert fit_report(extracted) == ["no fits"]
    assert len(fit_covariances(extracted)) == 0
