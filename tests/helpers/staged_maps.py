"""Outputs of maps as a run leaves them."""

from helpers.runner_tasks import make_catalogue
from hyper_py.writing.catalogues import describe_columns, write_catalogue
from hyper_py.writing.staging import Stage
from hyper_py.writing.state import Record


def stage_map(layout, name, n, *, seed=0, pixel_scale=1.0, beam_fwhm=None, parts=(), **columns):
    """Write catalogue and record of a map of n sources, some columns given; return the catalogue."""
    catalog = make_catalogue(n, seed=seed, name=name)
    for key, values in columns.items():
        catalog[key][:] = values * (getattr(catalog[key], "unit", None) or 1)
    with Stage(layout.root) as stage:
        write_catalogue(stage, layout, catalog, name=name, pixel_scale=pixel_scale, meta={"rms": 1.0})
        record = Record(
            name=name,
            checksum="c",
            depends={"the configuration": "f"},
            n_sources=n,
            rms=None,
            unit="mJy/beam",
            pixel_scale=pixel_scale,
            seconds=1.0,
            warnings=(),
            outputs=(),
            files=stage.checksums(),
            columns=describe_columns(catalog),
            parts=parts,
            beam_fwhm=beam_fwhm,
        )
        stage.text(layout.state(name), record.to_json())
    return catalog
