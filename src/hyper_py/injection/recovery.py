"""One realisation: sources are added to the map, the pipeline runs, and its rows are matched to them."""

import numpy as np
from numpy.typing import NDArray
from scipy.spatial import cKDTree

from hyper_py.arrays import BoolArray, FloatArray, IndexArray
from hyper_py.image import SkyImage
from hyper_py.injection.drawing import FluxRange, draw_sources
from hyper_py.injection.sensitivity import at_pixels
from hyper_py.injection.setup import InjectionSetup
from hyper_py.numerics import gaussians
from hyper_py.pipeline.extraction import Extraction, extract_sources
from hyper_py.validation.matching import match_positions

TOLERANCE_BEAMS = 0.5
"""Largest distance of a match."""

RECORD = np.dtype(
    [
        (name, np.float64)
        for name in (
            "realisation", "kind", "x", "y", "amplitude", "sigma_1", "sigma_2", "theta", "sigma", "response",
            "light", "neighbour", "peak", "flux", "recovered", "x_found", "y_found", "x_err", "y_err",
            "peak_found", "peak_err", "flux_found", "flux_err", "snr_found", "n_extra",
        )
    ]
)  # fmt: skip
"""One row an injected source.

`sigma` is the noise of the optimal filter there (Jy/pixel), `response` its answer over the amplitude,
`light` that of the catalogue's sources there (Jy/pixel), `neighbour` the distance to the nearest of them in
beams; `peak` in Jy/beam and `flux` in Jy are true, those with `_found` are the catalogue's; `n_extra` counts
rows of the realisation that are neither injected nor of the map's own catalogue.
"""


def inject(image: SkyImage, parameters: FloatArray) -> SkyImage:
    """Return a map with Gaussians of shape (n, 6) added to it; blank pixels stay blank."""
    return image.with_data(gaussians.render(parameters, image.shape, out=image.data.copy()))


def match_new_rows(
    rows: FloatArray, *, known: FloatArray, injected: FloatArray, brightness: tuple[FloatArray, FloatArray],
    tolerance: float,
) -> tuple[IndexArray, IndexArray, int]:  # fmt: skip
    """Match the rows of a catalogue to injected sources that were not there before.

    Rows are matched to the sources known before and to the injected ones together, one to one. Where an
    injected source takes the only row of a known one, the row counts as the brighter of the two.

    Parameters
    ----------
    rows, known, injected : ndarray, shapes (n, 2), (k, 2), (m, 2)
        Positions in pixels.
    brightness : (ndarray, ndarray), shapes (k,), (m,)
        Amplitudes of `known` and `injected`.
    tolerance : float
        Largest distance of a match in pixels.

    Returns
    -------
    row, source : ndarray of int
        Rows, and the injected sources that they are.
    n_extra : int
        Rows that match neither.
    """
    i, j = match_positions(rows, np.concatenate([known, injected]), tolerance=tolerance)
    new = j >= len(known)
    row, source = i[new], j[new] - len(known)
    lost = np.setdiff1d(np.arange(len(known)), j[~new])
    if lost.size and row.size:
        distance, nearest = cKDTree(known[lost]).query(rows[row])
        stolen = (distance <= tolerance) & (brightness[0][lost[nearest]] >= brightness[1][source])
        row, source = row[~stolen], source[~stolen]
    return row, source, len(rows) - len(i)


def realise(
    setup: InjectionSetup,
    *,
    seed: tuple[int, ...],
    ranges: tuple[FluxRange, FluxRange],
    positions: str = "random",
) -> NDArray[np.void]:
    """Inject sources, run the pipeline, and return one record for each of them.

    Parameters
    ----------
    setup : InjectionSetup
    seed : tuple of int
        The user's seed, then the number of the realisation: its random numbers depend on nothing else.
    ranges : (FluxRange, FluxRange)
        Of beam-sized sources and of those with the map's own sizes.
    positions : str
        See `hyper_py.injection.drawing.draw_sources`.

    Returns
    -------
    ndarray of `RECORD`, shape (n,)
    """
    rng = np.random.default_rng(seed)
    parameters, kinds = draw_sources(setup, rng=rng, ranges=ranges, positions=positions)
    extraction = extract_sources(inject(setup.image, parameters), options=setup.options)
    records = _true_values(setup, parameters, kinds, realisation=seed[-1])
    found = _found_values(extraction)
    row, source, n_extra = match_new_rows(
        np.column_stack([found["x_found"], found["y_found"]]),
        known=setup.known[:, [gaussians.X, gaussians.Y]], injected=parameters[:, [gaussians.X, gaussians.Y]],
        brightness=(setup.known[:, gaussians.AMPLITUDE], parameters[:, gaussians.AMPLITUDE]),
        tolerance=TOLERANCE_BEAMS * setup.fwhm,
    )  # fmt: skip
    records["recovered"][source] = 1.0
    records["n_extra"] = n_extra
    for name, values in found.items():
        records[name][source] = values[row]
    return records


def _true_values(
    setup: InjectionSetup, parameters: FloatArray, kinds: FloatArray, *, realisation: int
) -> NDArray[np.void]:
    n = len(parameters)
    records = np.zeros(n, dtype=RECORD)
    names = ("amplitude", "x", "y", "sigma_1", "sigma_2", "theta")
    for name, column in zip(names, parameters.T, strict=True):
        records[name] = column
    image = setup.image
    jacobian = image.jacobian(parameters[:, gaussians.X], parameters[:, gaussians.Y]).reshape(n, 2, 2)
    pixel_areas = np.abs(np.linalg.det(jacobian))
    sizes = np.sqrt(
        8.0 * np.log(2.0) * parameters[:, gaussians.SIGMA_1] * parameters[:, gaussians.SIGMA_2] * pixel_areas
    )
    places = parameters[:, [gaussians.X, gaussians.Y]]
    known = setup.known[:, [gaussians.X, gaussians.Y]]
    records["realisation"], records["kind"] = realisation, kinds
    records["sigma"] = at_pixels(setup.sensitivity.sigma, parameters)
    records["response"] = setup.sensitivity.response(parameters)
    records["light"] = setup.light(parameters)
    records["neighbour"] = cKDTree(known).query(places)[0] / setup.fwhm if len(known) else np.inf
    records["peak"] = parameters[:, gaussians.AMPLITUDE] * image.beam.solid_angle / pixel_areas
    # The catalogue counts the wings of a beam whose area is known: so does the truth.
    records["flux"] = gaussians.gaussian_flux(parameters) * image.beam.flux_factor(sizes)
    for name in (
        "x_found",
        "y_found",
        "x_err",
        "y_err",
        "peak_found",
        "peak_err",
        "flux_found",
        "flux_err",
        "snr_found",
    ):
        records[name] = np.nan
    return records


def _found_values(extraction: Extraction) -> dict[str, FloatArray]:
    """Return columns of the catalogue by their names in `RECORD`, in Jy and pixels."""
    table = extraction.catalog

    def column(name: str, unit: str = "") -> FloatArray:
        values = table[name]
        numbers: FloatArray = np.asarray(values.to_value(unit) if unit else values, dtype=np.float64)
        return numbers

    return {
        "x_found": column("X", "pix"),
        "y_found": column("Y", "pix"),
        "x_err": column("X_ERR", "pix"),
        "y_err": column("Y_ERR", "pix"),
        "peak_found": column("FLUX_PEAK", "Jy / beam"),
        "peak_err": column("FLUX_PEAK_ERR", "Jy / beam"),
        "flux_found": column("FLUX", "Jy"),
        "flux_err": column("FLUX_ERR", "Jy"),
        "snr_found": column("SNR"),
    }


def select(records: NDArray[np.void], kind: int) -> BoolArray:
    """Return which records are of a kind."""
    result: BoolArray = records["kind"] == kind
    return result
